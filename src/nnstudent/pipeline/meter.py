"""Seconds and peak memory of a piece of work, child processes included."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from nnstudent.profiling.tree import Tree


class Meter:
    """Measures while its ``with`` block runs.

    Attributes:
        seconds: Wall time of the block, once it has ended.
        peak_rss_mb: Largest resident memory seen, of this process and its children together, in MiB.
    """

    def __init__(self, *, every_seconds: float = 0.2) -> None:
        """A meter that looks every ``every_seconds``; a peak shorter than that may be missed."""
        self.seconds = 0.0
        self.peak_rss_mb = 0.0
        self._every = every_seconds
        self._tree = Tree()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        self._begin = time.perf_counter()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._begin
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._look()

    def _look(self) -> None:
        self.peak_rss_mb = max(self.peak_rss_mb, self._tree.rss_mb())
