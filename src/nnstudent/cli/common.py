"""What verbs share: arguments, the progress display, the report file, naming what failed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.errors import Failure
from nnstudent.io.atomic import write_json
from nnstudent.readable import readable

REPORT_SCHEMA = 1
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("auto", "openvino", "torch")  # as in inference.engine, which is heavy to import


class Display:
    """Progress as a bar on a terminal, as a plain line every few seconds elsewhere."""

    def __init__(self, *, every_seconds: float = 10.0) -> None:
        """A display on standard error; ``every_seconds`` is how often plain lines come."""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
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


def write_report(
    path: Path | None, body: Mapping[str, Any], *, command: Sequence[str] | None = None
) -> None:
    """Write the JSON of ``--report``: ``schema``, ``version``, ``command`` and what the verb adds."""
    if path is None:
        return
    told = list(command) if command is not None else ["nnstudent", *sys.argv[1:]]
    write_json(
        path,
        _readable(
            {"schema": REPORT_SCHEMA, "version": nnstudent.__version__, "command": told, **body}
        ),
    )


def _readable(data: Any) -> Any:
    """The same plain data with every text as :func:`nnstudent.readable.readable` has it: other programs refuse lone surrogates."""
    if isinstance(data, str):
        return readable(data)
    if isinstance(data, Mapping):
        return {_readable(key): _readable(value) for key, value in data.items()}
    return [_readable(item) for item in data] if isinstance(data, list | tuple) else data


def name_failures(verb: str, failures: Sequence[Failure], *, done: int) -> int:
    """Print what failed, a line each; the exit code.

    Args:
        verb: Who says it.
        failures: The cases that failed.
        done: How many did not.

    Returns:
        0 if none failed; 1 if some did; 2 if no case could be done, for then it is the input that is wrong.
    """
    for failure in failures:
        print(f"nnstudent {verb}: failed: {failure.case}: {failure.reason}", file=sys.stderr)
    return 0 if not failures else 1 if done else 2


def positive(text: str) -> int:
    """A whole number of at least 1, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected a whole number of at least 1")
    return int(text)


def add_threads(
    parser: argparse.ArgumentParser,
    *,
    told: str = "processor threads (default: all)",
    alias: Sequence[str] = (),
) -> None:
    """``--threads``, alike in every verb."""
    parser.add_argument("--threads", *alias, type=positive, metavar="N", help=told)


def add_device(parser: argparse.ArgumentParser, *, default: str, why: str) -> None:
    """``--device``, alike in every verb but for its default."""
    told = f"auto is cuda where torch finds a GPU, else cpu (default: {default}, {why})"
    parser.add_argument("--device", choices=DEVICES, default=default, help=told)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """``--engine``, alike in every verb that runs a network."""
    told = "what runs the network; auto is torch on a GPU, else openvino (default: auto)"
    parser.add_argument("--engine", choices=ENGINES, default="auto", help=told)


def import_nibabel() -> None:
    """Import nibabel without pydicom, which takes a third of a second and serves it for DICOM headers in NIfTI files only; none reads them.

    Of this process only, not of whoever imports the package: pydicom itself stays importable.
    """
    if {"nibabel", "pydicom"} & sys.modules.keys():
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # None makes its import fail
    try:
        import nibabel  # noqa: F401  # for those who import it later
    finally:
        del sys.modules["pydicom"]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
