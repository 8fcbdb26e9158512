"""Nothing half-written: outputs are made beside their place and renamed into it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, moved onto it when the block ends without an error.

    The temporary name ends as ``path`` does, so that writers which look at the suffix work.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    temporary = _beside(path)
    _make(path.parent, told=path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        ours = {None, str(temporary), str(path)}
        if error.filename not in ours and str(error.filename) not in ours:
            raise  # the block failed on another file, which is the one to name
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an error.

    Raises:
        OutputError: The folder cannot be made, or its place cannot be taken; what was there before then still is.
    """
    temporary, old = _beside(path), _beside(path)
    _make(path.parent, told=path)
    _make(temporary, told=path)
    try:
        yield temporary
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing.

    Raises:
        OutputError: It cannot be made.
    """
    _make(path, told=path)


def check_folder(path: Path) -> None:
    """Find out before the work whether files can be written into a folder, there or not; makes nothing.

    Raises:
        OutputError: They cannot.
    """
    _check(path, told=path)


def check_file(path: Path) -> None:
    """Find out before the work whether a file can be written; makes nothing.

    Raises:
        OutputError: It cannot.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected the name of a file to write")
    _check(path.parent, told=path)


def _check(folder: Path, *, told: Path) -> None:
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise _unwritable(told, error) from error


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, and so on the same file system, with the same suffix."""
    return path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")


def _make(folder: Path, *, told: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(told, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); choose a place that you may write to and that has room")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON with sorted layout as given, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON.

    Args:
        path: The file.
        what: What it should be, for the error ("a cohort", "a bundle").

    Raises:
        InputError: It is missing or no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the file of {what}") from error
    except ValueError as error:
        raise InputError(f"{path}: no valid JSON ({error}); expected the file of {what}") from error
