"""Memory and CPU time of a process and all its descendants at a given moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")
MIB = 2**20
_PSS_SHARE = 0.05  # largest share of the time to spend on reading proportional set sizes


class ProcessTree:
    """A process tree that is sampled repeatedly.

    Resident memory counts a page once for each process that has it. The proportional set size (PSS,
    Linux) divides it among them and is therefore what a tree of forked workers really takes. The
    kernel has to walk all pages for it, so it is read only as often as that is cheap.
    """

    def __init__(self, pid: int | None = None) -> None:
        """The tree of the process with this id; None for the current process."""
        self._root: psutil.Process | None
        try:
            self._root = psutil.Process(pid)
        except psutil.Error:  # it has ended already
            self._root = None
        self._cpu: dict[tuple[int, float], float] = {}
        self._next_pss = 0.0

    def rss_mb(self) -> float:
        """Resident memory of all processes together, in MiB; 0 once they have ended."""
        return sum(self._each(lambda process: float(process.memory_info().rss))) / MIB

    def pss_mb(self) -> float | None:
        """Proportional set size of all processes together, in MiB.

        None if it is unknown, or if it was read too recently.
        """
        before = time.perf_counter()
        if before < self._next_pss:
            return None
        found = self._each(_pss)
        after = time.perf_counter()
        self._next_pss = after + (after - before) / _PSS_SHARE
        known = [value for value in found if value is not None]
        return sum(known) / MIB if known and len(known) == len(found) else None

    def cpu_seconds(self) -> float:
        """CPU time in seconds of all processes that were ever sampled, including ended ones."""

        def note(process: psutil.Process) -> None:
            times = process.cpu_times()
            self._cpu[process.pid, process.create_time()] = float(times.user + times.system)

        self._each(note)
        return sum(self._cpu.values())

    def _each(self, measure: Callable[[psutil.Process], T]) -> list[T]:
        if self._root is None:
            return []
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []
        found = []
        for process in processes:
            try:
                found.append(measure(process))
            except psutil.Error:  # it ended after it was listed
                continue
        return found


def _pss(process: psutil.Process) -> float | None:
    try:
        return float(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):  # another system, or another user's process
        return None
