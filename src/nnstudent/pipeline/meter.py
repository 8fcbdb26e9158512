"""Measures seconds and peak memory of a piece of work, child processes included."""

from __future__ import annotations

import threading
import time

from nnstudent.profiling.tree import ProcessTree


class Meter:
    """Measures while its ``with`` block runs.

    Attributes:
        seconds: Wall time of the block, once it has ended.
        peak_rss_mb: Largest resident memory of this process and its children together, in MiB.
    """

    def __init__(self, *, every_seconds: float = 0.2) -> None:
        """Sample memory every ``every_seconds``; a shorter peak may be missed."""
        self.seconds = 0.0
        self.peak_rss_mb = 0.0
        self._every = every_seconds
        self._tree = ProcessTree()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        self._begin = time.perf_counter()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self._done.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._sample()

    def _sample(self) -> None:
        self.peak_rss_mb = max(self.peak_rss_mb, self._tree.rss_mb())
