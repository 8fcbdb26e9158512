"""nnU-Net's folders and output."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from nnstudent.training.environment import nnunet_folders

RAW, RESULTS = "nnUNet_raw", "nnUNet_results"


def test_output_goes_to_the_log_and_the_environment_is_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAW, "/somewhere")
    monkeypatch.delenv(RESULTS, raising=False)

    def progress(what: str, done: int, total: int, *, note: str = "") -> None:
        print(f"{what} {done}/{total} {note}")

    folders = nnunet_folders(tmp_path, log_file=tmp_path / "log" / "out.log", progress=progress)
    with folders as report:
        assert os.environ[RAW] == str(tmp_path / "raw")
        print("from nnU-Net")
        warnings.warn("beware", stacklevel=1)
        report("training", 1, 2, note="loss 0.50")
    assert os.environ[RAW] == "/somewhere"
    assert RESULTS not in os.environ
    assert capsys.readouterr().out == "training 1/2 loss 0.50\n"
    log = (tmp_path / "log" / "out.log").read_text()
    assert "from nnU-Net" in log
    assert "UserWarning: beware" in log
