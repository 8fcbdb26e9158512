"""The environment of a training: nnU-Net's folders and processes, its output, cuDNN's kernels."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from nnstudent.errors import InputError
from nnstudent.progress import Progress, silent

_FOLDERS = ("raw", "preprocessed", "results")


@contextmanager
def nnunet_folders(
    work: Path, *, log_file: Path, workers: int = 0, progress: Progress = silent
) -> Iterator[Progress]:
    """Point nnU-Net to a work folder, and send what it prints and warns about to a file.

    Args:
        work: Holds ``raw``, ``preprocessed`` and ``results``.
        log_file: Receives nnU-Net's output; lines are appended.
        workers: Processes that augment; 0 for none.
        progress: Called as the work inside advances.

    Yields:
        ``progress``, which writes to the standard output as it was outside.
    """
    for name in _FOLDERS:
        (work / name).mkdir(parents=True, exist_ok=True)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    values = {f"nnUNet_{name}": str(work / name) for name in _FOLDERS}
    values |= {"nnUNet_n_proc_DA": str(workers), "nnUNet_wandb_enabled": "0"}
    outside = sys.stdout

    def report(what: str, done: int, total: int, *, note: str = "") -> None:
        with redirect_stdout(outside):
            progress(what, done, total, note=note)

    with (
        _environment(values),
        log_file.open("a", encoding="utf-8", buffering=1) as out,
        redirect_stdout(out),
        _warnings_to(out),
    ):
        yield report


def refuse_several_processes() -> None:
    """Refuse a launcher of several processes for one training, such as torchrun.

    Raises:
        InputError: This process is one of several. They would train the same fold side by side and
            write the same files.
    """
    import torch.distributed as dist  # with torch, which whoever trains has

    launched = os.environ.get("WORLD_SIZE", "1").strip() not in ("", "0", "1")
    if launched or (dist.is_available() and dist.is_initialized()):
        raise InputError(
            "several processes for one training (torchrun, DDP) are not supported; train each "
            "fold on a GPU of its own: nnstudent teach … --fold K, with CUDA_VISIBLE_DEVICES=K"
        )


@contextmanager
def kernels_tried(device: Any) -> Iterator[None]:
    """Let cuDNN try its kernels for each shape and keep the fastest, as nnU-Net does.

    It pays because every batch has the same shape. On other devices it changes nothing.
    """
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _warnings_to(out: TextIO) -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        out.write(f"{category.__name__}: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
