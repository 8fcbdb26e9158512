from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.errors import InputError, MissingExtraError
from nnstudent.pipeline.meter import Meter
from nnstudent.profiling import Tolerance, profile
from nnstudent.profiling import profile as measure
from nnstudent.profiling.gpu import NO_GPU, Gpu
from nnstudent.profiling.plot import write_plot
from nnstudent.profiling.profile import _area
from nnstudent.profiling.tree import ProcessTree
from tests.reports import read_report

HOLD = "import time; held = bytearray(b'x') * ({mb} * 2**20); time.sleep({seconds})"
BUSY = "import time\nwhile time.process_time() < {seconds}: pass"


def python(program: str, **values: object) -> list[str]:
    return [sys.executable, "-S", "-c", program.format(**values)]


@pytest.fixture(scope="module")
def held():
    return profile(python(HOLD, mb=300, seconds=0.8))


def test_memory_and_time_are_those_of_the_command(held):
    assert 300 <= held.peak_rss_mb <= 360
    assert 0.8 <= held.wall_seconds < 60
    assert held.exit_code == 0
    assert 0.5 * 300 * 0.8 <= held.rss_area_mb_s <= held.peak_rss_mb * held.wall_seconds


def test_samples_are_taken_every_tenth_of_a_second(held):
    times = [sample.seconds for sample in held.samples]
    assert times == sorted(times)
    assert len(times) <= held.wall_seconds / 0.1 + 2
    assert len(times) >= 3  # eight and more, on a machine with nothing else to do


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the proportional set size")
def test_shared_pages_are_counted_once(held):
    assert held.peak_pss_mb is not None
    assert 300 <= held.peak_pss_mb <= held.peak_rss_mb + 1


def test_the_tree_is_measured_not_only_its_root():
    inner = HOLD.format(mb=150, seconds=1.0)
    code = (
        f"import subprocess, sys\n"
        f"a = [subprocess.Popen([sys.executable, '-S', '-c', {inner!r}]) for _ in range(2)]\n"
        f"[p.wait() for p in a]"
    )
    assert profile([sys.executable, "-c", code]).peak_rss_mb > 300


def test_processor_time_includes_children_that_have_ended():
    child = BUSY.format(seconds=0.4)
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {child!r}])"
    found = profile([sys.executable, "-S", "-c", code])
    assert 0.4 <= found.cpu_seconds < 2


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no wait4 on this system")
def test_a_peak_between_two_samples_is_not_lost():
    import resource  # not on Windows

    # a child counts as large as its parent, so it must grow larger than the test runner ever was
    mb = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        // 2 ** (20 if sys.platform == "darwin" else 10)
        + 200
    )
    found = profile(python("held = bytearray(b'x') * ({mb} * 2**20); del held", mb=mb), interval=30)
    assert found.peak_rss_mb > mb


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_exit_code_is_passed_through(code, capfd):
    assert (
        main(["profile", "--", *python("print('said'); raise SystemExit({code})", code=code)])
        == code
    )
    streams = capfd.readouterr()
    assert streams.out == "said\n"
    assert "wall time" in streams.err
    assert streams.err.splitlines()[-1].split() == ["exit", "code", str(code)]


@pytest.mark.skipif(os.name == "nt", reason="no signals there")
def test_a_command_that_a_signal_ends_exits_as_in_a_shell():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert profile(python(code)).exit_code == 128 + signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
def test_stopping_the_profile_stops_the_command(tmp_path):
    mark = tmp_path / "pid"
    child = (
        "import os, pathlib, time; "
        f"pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    command = [sys.executable, "-m", "nnstudent", "profile", "--", sys.executable, "-c", child]
    # what a shell starts in the background, and what that starts, ignores Ctrl-C
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=heed)
    until = time.monotonic() + 60
    while (not mark.exists() or not mark.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_without_a_gpu_the_figures_say_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("nnstudent.profiling.gpu.find_spec", lambda name: None)
    monkeypatch.setattr("nnstudent.profiling.gpu.find_library", lambda name: None)
    monkeypatch.setattr("nnstudent.profiling.gpu._DRIVER", tmp_path / "none")
    assert Gpu().missing == NO_GPU
    out = tmp_path / "p.json"
    assert main(["profile", "--json", str(out), "--", *python("pass")]) == 0
    report = read_report(out, "profile")
    assert {"schema", "version", "command", "profile"} <= set(report)
    found = report["profile"]
    assert [found[key] for key in ("gpu", "peak_gpu_mb", "gpu_area_mb_s", "gpu_before_mb")] == [
        NO_GPU
    ] * 4
    assert found["tolerances"]["gpu_mb"] == {"limit": 4096.0, "value": None, "within": None}
    assert found["tolerances"]["seconds"]["within"] is True
    assert found["sample_columns"] == ["seconds", "rss_mb", "pss_mb", "gpu_mb"]
    assert all(row[3] is None for row in found["samples"])
    assert capsys.readouterr().err.count(NO_GPU) == 3


def test_a_driver_without_its_python_package_is_not_called_no_gpu(monkeypatch):
    monkeypatch.setattr("nnstudent.profiling.gpu.find_spec", lambda name: None)
    monkeypatch.setattr("nnstudent.profiling.gpu.find_library", lambda name: "libnvidia-ml.so.1")
    assert "nvidia-ml-py" in Gpu().missing


class FakeError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """An NVML of one GPU with 1000 MiB in use before, then 3000."""
    used = iter([1000, *[3000] * 10_000])
    module = SimpleNamespace(
        NVMLError=FakeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: b"Quadro RTX 5000",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(
            total=16000 * 2**20, free=(16000 - next(used)) * 2**20
        ),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr("nnstudent.profiling.gpu.find_spec", lambda name: module)
    return module


def test_gpu_memory_is_total_minus_free(nvml):
    found = measure(python("import time; time.sleep(0.5)"))
    assert (found.gpu, found.gpu_before_mb, found.peak_gpu_mb) == ("Quadro RTX 5000", 1000, 3000)
    assert found.gpu_area_mb_s == pytest.approx(
        3000 * (found.wall_seconds - found.samples[0].seconds)
    )
    assert [item.within for item in found.tolerances] == [True, True, True]
    assert "no GPU 3" in Gpu(3).missing


def test_a_driver_that_does_not_answer_counts_as_no_gpu(nvml):
    def fail() -> None:
        raise FakeError

    nvml.nvmlInit = fail
    assert Gpu().missing == NO_GPU


@pytest.mark.parametrize(("value", "within"), [(15.0, True), (15.01, False), (None, None)])
def test_tolerances(value, within):
    assert Tolerance("seconds", 15.0, value).within is within


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=20))
def test_evenly_spaced_the_area_is_flares_sum(values):
    points = [(0.1 * place, value) for place, value in enumerate(values)]
    assert _area(points, 0.1 * len(values)) == pytest.approx(
        sum(value * 0.1 for value in values), abs=1e-6
    )


@pytest.mark.parametrize("command", [[], ["--"], ["--", "no-such-command-anywhere"], ["--", ""]])
def test_nothing_to_run_is_one_line_and_exit_code_2(command, capsys):
    assert main(["profile", *command]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_interval_of_zero_is_refused():
    for interval in (0, -1, math.nan):
        with pytest.raises(InputError, match="interval"):
            profile(["true"], interval=interval)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_plot_is_drawn(tmp_path, held, suffix):
    pytest.importorskip("matplotlib", reason="the plot needs the extra [report]")
    path = tmp_path / f"cost{suffix}"
    write_plot(held, path)
    assert path.read_bytes().startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")


def test_a_plot_that_cannot_be_drawn_is_known_before_the_command_runs(
    tmp_path, monkeypatch, capsys
):
    ran = tmp_path / "ran"
    command = python("open({path!r}, 'w')", path=str(ran))
    assert main(["profile", "--plot", str(tmp_path / "x.gif"), "--", *command]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["profile", "--plot", str(tmp_path / "x.svg"), "--", *command]) == 2
    assert "nnstudent[report]" in capsys.readouterr().err
    assert not ran.exists()
    with pytest.raises(MissingExtraError):
        write_plot(None, tmp_path / "x.svg")


def test_stages_are_metered_by_the_same_process_tree():
    with Meter(every_seconds=0.05) as meter:
        held = bytearray(b"x") * (100 * 2**20)
        time.sleep(0.2)
        del held
    assert meter.peak_rss_mb > 100
    assert ProcessTree().rss_mb() > 0
    assert ProcessTree(2**22 + 5).rss_mb() == 0


def test_a_command_that_ends_before_the_first_sample_has_no_area():
    assert _area([], 0.004) == 0
