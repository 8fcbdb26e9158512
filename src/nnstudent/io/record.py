"""What was made from what: content hashes, and the record that lets a second call do only what is missing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.errors import InputError, require_regular_file
from nnstudent.io.atomic import write_json
from nnstudent.serialization import read_json

log = logging.getLogger(__name__)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, the first 16 hexadecimal digits.

    Raises:
        InputError: It is missing or no regular file.
    """
    require_regular_file(path, what="data")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def data_hash(data: Any) -> str:
    """SHA-256 of plain data (what JSON can hold), independent of key order; the first 16 hexadecimal digits."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def write_record(
    path: Path, *, stage: str, made_from: Any, files: Sequence[Path] = (), **more: Any
) -> None:
    """Write beside a result what it was made from.

    Args:
        path: The record.
        stage: What made the result.
        made_from: Plain data, such as hashes and settings.
        files: The result; once one of them is changed or damaged it is no longer what was made.
        more: What else the record says.
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
    """Whether the record at ``path`` says that its result was made from exactly this, and the result is as it was made."""
    record = read_state(path, what="a record")
    if record is None or record.get("made_from") != data_hash(made_from):
        return False
    try:
        files = dict(record.get("files", {}))
        damaged = [name for name, known in files.items() if file_hash(path.parent / name) != known]
    except (InputError, OSError, TypeError, ValueError):  # missing, or no table of files
        return False
    for name in damaged:
        log.warning("%s: is no longer what was written; it is made again", path.parent / name)
    return not damaged


def read_state(path: Path, *, what: str) -> dict[str, Any] | None:
    """Read what an earlier call noted for the next; None where there is nothing, or it is damaged, which is said.

    Args:
        path: A JSON file.
        what: What it is, for the notice.
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
