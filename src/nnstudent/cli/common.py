"""What verbs share: the progress display, the report file, naming what failed."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.errors import Failure, OutputError
from nnstudent.io.atomic import write_json

REPORT_SCHEMA = 1


class Display:
    """Progress as a bar on a terminal, as a plain line every few seconds elsewhere."""

    def __init__(self, *, every_seconds: float = 10.0) -> None:
        """A display on standard error; ``every_seconds`` is how often plain lines come."""
        self._terminal = sys.stderr.isatty()
        self._every = every_seconds
        self._bar: Any = None
        self._what = ""
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """See :class:`nnstudent.progress.Progress`."""
        if self._terminal:
            self._draw(what, done, total)
            return
        now = time.monotonic()
        if what != self._what or done >= total or now - self._last >= self._every:
            self._what, self._last = what, now
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)

    def _draw(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm  # a terminal only needs it

        if self._bar is None or what != self._what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, file=sys.stderr, leave=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def write_report(path: Path | None, body: Mapping[str, Any], *, command: Sequence[str] | None = None) -> None:
    """Write the JSON of ``--report``: ``schema``, ``version``, ``command`` and what the verb adds."""
    if path is None:
        return
    told = list(command) if command is not None else ["nnstudent", *sys.argv[1:]]
    write_json(path, {"schema": REPORT_SCHEMA, "version": nnstudent.__version__, "command": told, **body})


def check_file(path: Path | None) -> None:
    """Find out before the work whether a file that was asked for can be written; makes no folder.

    Raises:
        OutputError: It cannot.
    """
    if path is None:
        return
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected the name of a file to write")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose a place that you may write to") from error


def name_failures(verb: str, failures: Sequence[Failure]) -> int:
    """Print what failed, a line each; the exit code: 1 if something did, else 0."""
    for failure in failures:
        print(f"nnstudent {verb}: failed: {failure.case}: {failure.reason}", file=sys.stderr)
    return 1 if failures else 0


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
