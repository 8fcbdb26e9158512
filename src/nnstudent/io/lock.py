"""Lets only one call at a time write into a folder.

Two calls that train the same fold would spoil each other's checkpoints.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nnstudent.data_files import read_json
from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import make_folder, sweep, unwritable
from nnstudent.readable import readable
from nnstudent.serialization import Record

log = logging.getLogger(__name__)

_PATIENCE = 0.3  # seconds; a lock that is being released looks held for a moment
_TRIES = 5


@contextmanager
def writing(
    folder: Path, *, part: str = "", wait: bool = False, beside: bool = False
) -> Iterator[None]:
    """Hold a folder for this process while the block runs.

    A lock of the operating system holds it, which ends with the process. Files that a killed call
    left half-written are removed first. A folder that was created for the lock is removed again if
    it is empty in the end.

    Args:
        folder: The folder; created if it is missing.
        part: Name of a share of the work, if other calls may do the rest at the same time. Such a
            call removes nothing.
        wait: Whether to wait for another call to end instead of refusing.
        beside: Whether the lock lies beside the folder, because the whole folder is replaced.

    Raises:
        OutputError: Another process holds the folder, or it cannot be written.
    """
    place = folder.parent if beside else folder
    missing = [path for path in (place, *place.parents) if not path.exists()]
    share = "".join(f"-{word}" for word in part.split())
    path = place / (f".{folder.name[:100]}.nnstudent.lock" if beside else f".nnstudent{share}.lock")
    lock = _acquired(path, folder, wait=wait)
    try:
        _say_who(path)
        if not part:
            sweep(folder, whole=True)
            sweep(folder.parent, of=folder.name)
        yield
    finally:
        # Before the release, so that nobody can have created a new lock of this name. On systems
        # that do not remove open files, it stays.
        with suppress(OSError):
            path.unlink()
        lock.release()
        for made in missing:
            with suppress(OSError):  # it is not empty, as usual
                made.rmdir()


def _acquired(path: Path, folder: Path, *, wait: bool) -> FileLock:
    lock = FileLock(path, thread_local=False)
    for _ in range(_TRIES):
        make_folder(path.parent)
        try:
            lock.acquire(timeout=_PATIENCE, poll_interval=0.02)
            return lock
        except Timeout:
            if not wait:
                raise OutputError(
                    f"{readable(str(folder))}: another call writes into it{_who(path)}; "
                    "wait for it, or stop it and call again to continue"
                ) from None
            log.info(
                "%s: waiting for another call that writes into it%s",
                readable(str(folder)),
                _who(path),
            )
            lock.acquire(poll_interval=0.5)
            return lock
        except FileNotFoundError:  # another call has just removed the folder, which it left empty
            continue
        except OSError as error:
            raise unwritable(folder, error) from error
    raise unwritable(folder, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


def _say_who(path: Path) -> None:
    with suppress(OSError):  # for information only
        path.write_text(json.dumps({"process": os.getpid(), "host": platform.node()}), "utf-8")


def _who(path: Path) -> str:
    try:
        data = Record(read_json(path, what="a lock", most=10_000), str(path))
        return f" (process {data.get('process', int)} on {readable(data.get('host', str))})"
    except InputError:
        return ""
