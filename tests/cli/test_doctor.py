"""What is installed, and what is missing."""

from __future__ import annotations

from nnstudent.cli import main
from tests.reports import read_report


def test_doctor_tells_what_there_is(tmp_path, capfd):
    assert main(["doctor", "--report", str(tmp_path / "r.json")]) == 0
    out = capfd.readouterr().out
    report = read_report(tmp_path / "r.json", "doctor")
    assert report["engines"]["openvino"].startswith("works on CPU")
    assert report["packages"]["numpy"] in out
    assert report["memory_gb"] > 0.5
    assert report["devices"]["cpu"].endswith("(openvino)")
    assert "--device cpu" in out


def test_doctor_names_the_extra_that_is_missing(monkeypatch, capfd):
    from nnstudent.cli import doctor

    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name in ("torch", "pydicom") else "1.0"
    )
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert "pip install 'nnstudent[torch]'" in out
    assert "pip install 'nnstudent[dicom]'" in out
