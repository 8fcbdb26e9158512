"""One call at a time in a run's folder: two that train the same fold would spoil each other's checkpoints."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from nnstudent.errors import OutputError

NAME = ".running"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process while the block runs.

    A mark that a killed process left is recognised and taken over, if it was on this machine.

    Args:
        folder: The folder; it exists.

    Raises:
        OutputError: Another process holds it.
    """
    path = folder / NAME
    me = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    for _ in range(2):
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(me, file)
            break
        except FileExistsError:
            _refuse_if_held(path, me["host"])
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose a place that you may write to") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _refuse_if_held(path: Path, host: object) -> None:
    try:
        other = json.loads(path.read_text("utf-8"))
        pid, started = int(other["pid"]), float(other["started"])
        there = str(other["host"])
    except (OSError, ValueError, KeyError, TypeError):  # gone by now, or half-written by a process that was killed
        return
    if there != host:
        raise OutputError(f"{path.parent}: another call works in it, on {there} (process {pid}); if that one is no more, remove {path}")
    try:
        alive = abs(psutil.Process(pid).create_time() - started) < 5  # seconds: it is counted from a boot time that clocks adjust
    except psutil.Error:
        alive = False
    if alive:
        raise OutputError(f"{path.parent}: another call works in it (process {pid}); wait for it, or stop it and call again to go on")
