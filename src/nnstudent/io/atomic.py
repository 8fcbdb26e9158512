"""Writes outputs whole or not at all: they are made beside their place and renamed.

Temporary names state the process that writes: ``.nnstudent-HOST-PROCESS-RANDOM.NAME`` for a new
output, ``.nnstudent-old-…`` for the one that it replaces. What a killed process left is removed the
next time something is written there.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from nnstudent.errors import OutputError, OutputNameError
from nnstudent.readable import HANDLER, readable

_TEMPORARY = re.compile(
    r"\.nnstudent-(?P<old>old-)?(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<name>.*)",
    re.DOTALL,
)
_LONGEST = 150  # bytes of a name that its temporary name keeps; file systems allow 255
_SPARE = 4  # files that removing a folder of two levels takes, and one
_STALE_SECONDS = 3600.0  # Files that another machine has not touched for this long are abandoned.
_swept: set[str] = set()

# Errors of a single name, not of the whole place.
_NAMES = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTEMPTY, errno.EILSEQ, errno.EINVAL}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block ends without an error.

    The temporary name ends like ``path``, for writers that look at the suffix.

    Raises:
        OutputError: The folder cannot be created or written.
    """
    temporary = _beside(path)
    _require_replaceable(path)
    _make(path.parent, named=path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        ours = {None, str(temporary), str(path)}
        if error.filename not in ours and str(error.filename) not in ours:
            raise  # it is an error of another file, which has to be named
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``path`` if the block ends without an error.

    Raises:
        OutputError: The folder cannot be created or moved into place. An earlier one is kept.
    """
    temporary, old = _beside(path), _beside(path, old=True)
    _require_replaceable(path)
    _make(path.parent, named=path)
    _make(temporary, named=path)
    spare = _spare_files()
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        ours = error.filename is None or Path(str(error.filename)).is_relative_to(temporary)
        if not ours and str(error.filename) != str(path):
            raise  # it is an error of another file, which has to be named
        raise unwritable(path, error) from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        for file in spare:
            os.close(file)
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def _spare_files() -> list[int]:
    """Open some files, to close them before cleaning up.

    Where a process may open no more files, it could not list the folder that it has to remove.
    """
    spare: list[int] = []
    with suppress(OSError):
        for _ in range(_SPARE):
            spare.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401  # what was opened counts
    return spare


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they are missing.

    Raises:
        OutputError: It cannot be created.
    """
    _make(path, named=path)


def check_folder(path: Path) -> None:
    """Check before any work that files can be written into a folder, without creating it.

    Raises:
        OutputError: They cannot.
    """
    _check(path, named=path)


def check_file(path: Path) -> None:
    """Check before any work that a file can be written, without creating it.

    Raises:
        OutputError: It cannot.
    """
    try:
        folder = path.is_dir()
    except OSError as error:
        raise unwritable(path, error) from error
    if folder:
        raise OutputError(f"{path}: is a folder; expected the name of a file to write")
    _require_replaceable(path)
    _check(path.parent, named=path)


def _require_replaceable(path: Path) -> None:
    """Refuse a device, pipe or socket, which a file renamed onto it would remove from the system.

    Raises:
        OutputError: The path is one of these, or a link to one, such as ``/dev/stdout``.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # it is missing, or writing will fail with the reason
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(
            f"{readable(str(path))}: is a device, pipe or socket; "
            "expected the name of a file to write"
        )


def _check(folder: Path, *, named: Path) -> None:
    places = (folder.absolute(), *folder.absolute().parents)
    try:
        nearest = next(place for place in places if place.exists())
        _check_names(named.absolute().relative_to(nearest).parts, nearest)
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(named, error) from error


def _check_names(names: Iterable[str], folder: Path) -> None:
    """Refuse names that the folder's file system cannot hold."""
    longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if any(len(os.fsencode(name)) > longest for name in names):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def sweep(folder: Path, *, whole: bool = False, of: str | None = None) -> None:
    """Remove what killed processes left half-written, and restore what they were about to replace.

    Args:
        folder: The folder; folders in it are left alone.
        whole: Whether this process holds the folder (:func:`nnstudent.io.lock.writing`), so that
            files from other machines are abandoned too.
        of: Only treat files that were to become this name.
    """
    try:
        found = [
            (entry, match)
            for entry in os.scandir(folder)
            if (match := _TEMPORARY.fullmatch(entry.name))
        ]
    except OSError:  # it is missing or cannot be read
        return
    for entry, match in found:
        if of not in (None, match["name"]) or not _is_abandoned(entry, match, whole=whole):
            continue
        path, place = Path(entry.path), folder / match["name"]
        with suppress(OSError):  # another call may be sweeping too
            # Killed after the old one was moved away and before the new one took its place.
            if match["old"] and not place.exists():
                if len(os.fsencode(match["name"])) < _LONGEST:  # otherwise its name is unknown
                    os.replace(path, place)
            elif entry.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_abandoned(entry: os.DirEntry[str], match: re.Match[str], *, whole: bool) -> bool:
    if match["host"] == _host():
        import psutil  # needed only where something was left behind

        return not psutil.pid_exists(int(match["pid"]))
    try:
        return whole and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS
    except OSError:
        return False


@cache
def _host() -> str:
    """Where process numbers are unique: this machine, or this container on it."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # another system
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode(errors="replace")).hexdigest()[:8]


def _beside(path: Path, *, old: bool = False) -> Path:
    """A hidden name in the same folder (and so the same file system) with the same suffix."""
    folder = os.path.abspath(path.parent)
    if folder not in _swept:
        _swept.add(folder)
        sweep(path.parent)
    name = os.fsdecode(os.fsencode(path.name)[-_LONGEST:])
    return path.with_name(
        f".nnstudent-{'old-' if old else ''}{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{name}"
    )


def _make(folder: Path, *, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(named, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for a path that cannot be written: of its name alone, or of the place."""
    if error.errno in _NAMES:
        return OutputNameError(
            f"{readable(str(path))}: cannot be written ({error.strerror}); "
            "choose another name or move what is there"
        )
    reason = error.strerror or readable(str(error))
    return OutputError(
        f"{readable(str(path))}: cannot be written ({reason}); "
        "choose a place that you may write to and that has room"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all.

    Characters that UTF-8 cannot hold, such as bytes of a file's name, are spelled out.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", HANDLER))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text line by line, whole or not at all; only one line is held at a time.

    Characters that UTF-8 cannot hold become JSON's own escapes.

    Args:
        path: The file to write.
        lines: The lines, without their ends.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all.

    A path with bytes that are not UTF-8 is read back unchanged by
    :func:`~nnstudent.data_files.read_json`.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # Lone surrogates become JSON's own escapes.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
