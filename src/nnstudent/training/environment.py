"""nnU-Net's environment: its folders, its number of processes, and a file for what it prints."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

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
