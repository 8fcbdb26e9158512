from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.pipeline.meter import Meter
from nnstudent.profiling import Tolerance, profile
from nnstudent.profiling.profile import _area
from nnstudent.profiling.tree import ProcessTree
from tests.profiling.conftest import python


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
