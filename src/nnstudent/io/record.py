"""What was made from what: content hashes, and the record that lets a second call do only what is missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.errors import InputError, require_regular_file
from nnstudent.io.atomic import write_json


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


def write_record(path: Path, *, stage: str, made_from: Any, **more: Any) -> None:
    """Write beside a result what it was made from; ``made_from`` is plain data, such as hashes and settings."""
    write_json(path, {"stage": stage, "version": nnstudent.__version__, "made_from": data_hash(made_from), **more})


def is_made_from(path: Path, made_from: Any) -> bool:
    """Whether the record at ``path`` says that its result was made from exactly this."""
    try:
        require_regular_file(path, what="a record")
        record = json.loads(path.read_text("utf-8"))
    except (InputError, OSError, ValueError, RecursionError):  # damaged: what it speaks of is made again
        return False
    return isinstance(record, dict) and record.get("made_from") == data_hash(made_from)
