"""The check of a GPU runs on the processor too, at tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from bench import gpu_check  # noqa: E402  # it imports torch


def test_the_same_code_runs_on_the_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--quick", "--only", "steps,label,sizes", "--json", str(path)]
    assert gpu_check.main(arguments) == 0
    found = json.loads(path.read_text())["sections"]
    assert set(found) == {"steps", "label", "sizes"}
    assert all(rate > 0 for rate in found["steps"].values())
    assert set(found["steps"]) >= {"teacher: plain", "student: benchmark, batch 4"}
    assert found["label"]["same_labels_device_and_host"] > 0.999
    assert found["label"]["same_labels_as_cpu"] > 0.999
    assert all(row["peak_mb"] > 0 for row in found["sizes"].values())
    assert "| label: seconds summed on device |" in capsys.readouterr().out


def test_without_cuda_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--json", str(tmp_path / "gpu.json")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["gpu-check: torch finds no CUDA device here; nothing was checked"]
    assert not (tmp_path / "gpu.json").exists()


def test_a_section_that_fails_is_named_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: object) -> dict[str, object]:
        raise RuntimeError("CUDA error: an illegal memory access")

    sections = {"first": broken, "second": lambda _: {"fine": 1}}
    monkeypatch.setattr(gpu_check, "SECTIONS", sections)
    path = tmp_path / "gpu.json"
    assert gpu_check.main(["--device", "cpu", "--only", "first,second", "--json", str(path)]) == 1
    found = json.loads(path.read_text())["sections"]
    assert "illegal memory access" in found["first"]["failed"]
    assert found["second"] == {"fine": 1}
