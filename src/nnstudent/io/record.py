"""Records what was made from what, so that a second call does only what is missing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.data_files import read_json
from nnstudent.errors import InputError, require_regular_file
from nnstudent.io.atomic import write_json

log = logging.getLogger(__name__)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, shortened to 16 hexadecimal digits.

    Raises:
        InputError: The file is missing or not a regular file.
    """
    require_regular_file(path, what="data")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def data_hash(data: Any) -> str:
    """Return the SHA-256 of plain data, independent of key order, as 16 hexadecimal digits."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def write_record(
    path: Path, *, stage: str, made_from: Any, files: Sequence[Path] = (), **more: Any
) -> None:
    """Write the record of a result.

    Args:
        path: The record.
        stage: The stage that made the result.
        made_from: What the result depends on, as plain data such as hashes and settings.
        files: The files of the result. If one is changed or damaged, the record no longer holds.
        more: Further entries.
    """
    hashes = {
        Path(os.path.relpath(file, path.parent)).as_posix(): file_hash(file) for file in files
    }
    kept = {"files": hashes} if hashes else {}
    write_json(
        path,
        {
            "stage": stage,
            "version": nnstudent.__version__,
            "made_from": data_hash(made_from),
            **kept,
            **more,
        },
    )


def is_made_from(path: Path, made_from: Any) -> bool:
    """Whether a record names exactly these inputs and its files have not changed since.

    Args:
        path: The record.
        made_from: What the result depends on, as in :func:`write_record`.
    """
    record = read_state(path, what="a record")
    if record is None or record.get("made_from") != data_hash(made_from):
        return False
    try:
        files = dict(record.get("files", {}))
        damaged = [name for name, known in files.items() if file_hash(path.parent / name) != known]
    except (InputError, OSError, TypeError, ValueError):  # a file is missing, or there is no table
        return False
    for name in damaged:
        log.warning("%s: has changed since it was written; it is made again", path.parent / name)
    return not damaged


def read_state(path: Path, *, what: str) -> dict[str, Any] | None:
    """Read what an earlier call wrote for later ones.

    Args:
        path: A JSON file.
        what: What it holds, for the warning.

    Returns:
        Its table; None if the file is missing, or if it is damaged, which is logged as a warning.
    """
    if not path.exists():
        return None
    try:
        data = read_json(path, what=what)
    except InputError as error:
        log.warning("%s; it is made again", error)
        return None
    if not isinstance(data, dict):
        log.warning("%s: is damaged; expected the file of %s; it is made again", path, what)
        return None
    return data
