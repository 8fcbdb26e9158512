"""Tells whether files have changed since a stage ran, without reading the large ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.io.record import data_hash, file_hash

# Up to this size a file's content counts, so that a file rewritten with the same content has not
# changed. Of larger files the size and time count.
_SMALL_BYTES = 1_000_000
# Logs and half-written files say nothing about a result.
_IGNORED = (".log", ".lock", ".tmp", ".pyc")


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash that changes when a file under these paths is added, removed or changed.

    It only saves calling a stage; the stage itself finds out by content whether it has work to do.

    Args:
        paths: Files and folders; a missing one counts as missing. Hidden files and logs do not
            count.
    """
    return data_hash(
        [_entry(path, path.relative_to(root).as_posix()) for root in paths for path in _files(root)]
    )


def _files(root: Path) -> Iterable[Path]:
    if not root.is_dir():
        return (root,)
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix not in _IGNORED)
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _entry(path: Path, name: str) -> tuple[str, str | int, int]:
    try:
        stat = path.stat()
        if stat.st_size <= _SMALL_BYTES:
            return name, file_hash(path), 0
    except (OSError, InputError):
        return name, "missing", 0
    return name, stat.st_size, stat.st_mtime_ns
