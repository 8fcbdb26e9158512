"""The memory of a GPU, with a driver and without."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from nnstudent.cli import main
from nnstudent.profiling import profile as measure
from nnstudent.profiling.gpu import NO_GPU, Gpu
from tests.profiling.conftest import python
from tests.reports import read_report


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
