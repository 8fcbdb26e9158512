"""Nothing half-written: outputs are made beside their place and renamed into it.

The names that they are made under say which process makes them: ``.nnstudent-HOST-PROCESS-RANDOM.NAME`` for what is new,
``.nnstudent-old-…`` for what it replaces. What a killed process left is removed when something is written there again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from nnstudent.errors import OutputError, OutputNameError
from nnstudent.readable import HANDLER, readable

_TEMPORARY = re.compile(
    r"\.nnstudent-(?P<old>old-)?(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<name>.*)",
    re.DOTALL,
)
_LONGEST = 150  # bytes of a name that are kept in its temporary name; a file system takes 255
_STALE_SECONDS = 3600.0  # what another machine has not touched for so long is nobody's
_swept: set[str] = set()

# What is wrong with one name, and not with the place.
_NAMES = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTEMPTY, errno.EILSEQ, errno.EINVAL}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, moved onto it when the block ends without an error.

    The temporary name ends as ``path`` does, so that writers which look at the suffix work.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    temporary = _beside(path)
    _require_replaceable(path)
    _make(path.parent, told=path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        ours = {None, str(temporary), str(path)}
        if error.filename not in ours and str(error.filename) not in ours:
            raise  # the block failed on another file, which is the one to name
        raise unwritable(path, error) from error
    finally:
        with suppress(
            OSError
        ):  # a name that is too long, or a disk that has gone: the first error is the one to tell
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an error.

    Raises:
        OutputError: The folder cannot be made, or its place cannot be taken; what was there before then still is.
    """
    temporary, old = _beside(path), _beside(path, old=True)
    _require_replaceable(path)
    _make(path.parent, told=path)
    _make(temporary, told=path)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        ours = error.filename is None or Path(str(error.filename)).is_relative_to(temporary)
        if not ours and str(error.filename) != str(path):
            raise  # the block failed on another file, which is the one to name
        raise unwritable(path, error) from error
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
    _require_replaceable(path)
    _check(path.parent, told=path)


def _require_replaceable(path: Path) -> None:
    """Refuse a device, pipe or socket: renaming a file onto it would remove it from the system.

    Raises:
        OutputError: The path is one of them, or a link to one, such as ``/dev/stdout``.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing is there, or writing will say what is wrong
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(
            f"{readable(str(path))}: is a device, pipe or socket; expected the name of a file to write"
        )


def _check(folder: Path, *, told: Path) -> None:
    nearest = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(told, error) from error


def sweep(folder: Path, *, whole: bool = False, of: str | None = None) -> None:
    """Remove what killed processes left half-written in a folder, and give back what they were about to replace.

    Args:
        folder: The folder; what is in its folders is left to those who write there.
        whole: Whether the folder is held (:func:`nnstudent.io.lock.writing`), so that what another machine left is nobody's.
        of: Only what was to become this name.
    """
    try:
        found = [
            (entry, match)
            for entry in os.scandir(folder)
            if (match := _TEMPORARY.fullmatch(entry.name))
        ]
    except OSError:  # not there, or not to be read
        return
    for entry, match in found:
        if of not in (None, match["name"]) or not _is_nobodys(entry, match, whole=whole):
            continue
        path, place = Path(entry.path), folder / match["name"]
        with suppress(OSError):  # another call sweeps here too
            if (
                match["old"] and not place.exists()
            ):  # killed between taking the old away and moving the new in
                if len(os.fsencode(match["name"])) < _LONGEST:  # else its name is not known
                    os.replace(path, place)
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_nobodys(entry: os.DirEntry[str], match: re.Match[str], *, whole: bool) -> bool:
    if match["host"] == _host():
        return not psutil.pid_exists(int(match["pid"]))
    try:
        return whole and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS
    except OSError:
        return False


@cache
def _host() -> str:
    """Where process numbers mean the same: this machine, or this container on it."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # another system
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode(errors="replace")).hexdigest()[:8]


def _beside(path: Path, *, old: bool = False) -> Path:
    """A hidden name in the same folder, and so on the same file system, with the same suffix."""
    folder = os.path.abspath(path.parent)
    if folder not in _swept:
        _swept.add(folder)
        sweep(path.parent)
    name = os.fsdecode(os.fsencode(path.name)[-_LONGEST:])
    return path.with_name(
        f".nnstudent-{'old-' if old else ''}{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{name}"
    )


def _make(folder: Path, *, told: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(told, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error to raise where ``path`` cannot be written: one of this name alone, or of every other there too."""
    if error.errno in _NAMES:
        return OutputNameError(
            f"{readable(str(path))}: cannot be written ({error.strerror}); choose another name or move what is there"
        )
    reason = error.strerror or readable(str(error))
    return OutputError(
        f"{readable(str(path))}: cannot be written ({reason}); choose a place that you may write to and that has room"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all; what UTF-8 cannot hold, as bytes in a file's name, is spelled out readably."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", HANDLER))


def write_json(path: Path, data: Any) -> None:
    """Write JSON with sorted layout as given, whole or not at all.

    A path with bytes that are not UTF-8 comes back from :func:`~nnstudent.serialization.read_json` as it was.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_bytes(
            text.encode("utf-8", "backslashreplace")
        )  # lone surrogates become JSON's own escapes
