"""What a checkpoint says of itself is the same as torch reads, and needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnstudent.bundle import facts
from nnstudent.bundle.facts import checkpoint_facts
from nnstudent.bundle.weights import load_checkpoint
from nnstudent.errors import InputError

torch = pytest.importorskip("torch", reason="reads checkpoints, and torch is not installed")
NAMES = ("trainer_name", "init_args", "inference_allowed_mirroring_axes")


class Boobytrap:
    """What a malicious checkpoint would hold: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def checkpoint(path: Path, **more: object) -> Path:
    torch.save(
        {
            "network_weights": {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.zeros(2, 2)},
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": (0, 2),
            "logging": {"dice": [np.float64(0.5)], "epochs": np.int64(3)},
            "optimizer_state": {"state": {0: {"momentum": torch.nn.Parameter(torch.ones(2))}}},
            **more,
        },
        path,
    )
    return path


def test_facts_are_read_without_loading_tensors(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "checkpoint.pth")
    whole = load_checkpoint(path)
    monkeypatch.setattr(facts, "load_checkpoint", lambda *_, **__: pytest.fail("torch was used"))
    read = checkpoint_facts(path)
    assert {name: read[name] for name in NAMES} == {name: whole[name] for name in NAMES}
    assert set(read) == set(whole)


def test_a_pickle_that_names_anything_else_is_left_to_torch_which_refuses_it(tmp_path):
    path = checkpoint(tmp_path / "checkpoint.pth", extra=Boobytrap(tmp_path / "sprung"))
    with pytest.raises(InputError, match="--trust-pickle"):
        checkpoint_facts(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_left_to_torch_which_says_so(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged or no checkpoint"):
        checkpoint_facts(path)


def test_a_pickle_that_is_too_large_is_left_to_torch(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "checkpoint.pth")
    monkeypatch.setattr(facts, "_MOST", 10)
    monkeypatch.setattr(facts, "load_checkpoint", lambda *_, **__: {"by": "torch"})
    assert checkpoint_facts(path) == {"by": "torch"}


def test_opening_a_folder_imports_no_torch(folder):
    program = (
        "import sys; from pathlib import Path; from nnstudent.bundle.bundle import open_model; "
        f"open_model(Path({str(folder)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
