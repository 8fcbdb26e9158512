"""nnU-Net's folders and output."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

from nnstudent.errors import InputError
from nnstudent.training.environment import (
    kernels_tried,
    nnunet_folders,
    refuse_several_processes,
)

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


def test_a_launcher_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    refuse_several_processes()
    monkeypatch.setenv("WORLD_SIZE", "1")
    refuse_several_processes()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r"not supported; train each fold .* --fold K"):
        refuse_several_processes()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(InputError, match="not supported"):
        refuse_several_processes()


@pytest.mark.parametrize(("device", "tried"), [("cuda", True), ("cpu", False)])
def test_cudnn_tries_its_kernels_while_a_gpu_trains(
    device: str, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with kernels_tried(torch.device(device)):
        assert torch.backends.cudnn.benchmark is tried
    assert torch.backends.cudnn.benchmark is False
