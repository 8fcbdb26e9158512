"""Running cases in a pipeline: one is read, the network runs on another, and a third is written.

Reading, decompressing and compressing keep one core busy, and the network keeps all of them, so
that overlapping leaves none idle. Each case is a generator of up to three stages. First and last
stages run in threads of their own, always in the order of the cases.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
# Yields where another thread may continue: before the network runs, and after it has.
Stages = Generator[None, None, T]


class MemoryReservation:
    """A memory reservation shared by concurrent cases: a case begins once its memory fits.

    Attributes:
        base_mb: Resident memory while no case runs, in MiB.
        highest_mb: The most that was ever reserved at once, including the base, in MiB.
    """

    def __init__(self, *, base_mb: float, limit_mb: Callable[[], float], strict: bool) -> None:
        """Create it before the first case begins.

        Args:
            base_mb: Resident memory while no case runs, in MiB.
            limit_mb: Returns the present limit of resident memory, in MiB.
            strict: Whether a case of unknown size waits until it runs alone; otherwise it is
                assumed to be as large as the largest so far.
        """
        self.base_mb = self.highest_mb = base_mb
        self._limit_mb = limit_mb
        self._unknown = float("inf") if strict else 0.0
        self._promised: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closed = False

    def acquire(self, case: str, peak_mb: float | None) -> None:
        """Reserve memory for a case; waits until it fits beside the other cases, or runs alone.

        Args:
            case: Its id; an earlier reservation of the same case is replaced.
            peak_mb: Predicted peak of the process if this case ran alone, in MiB; None if unknown.

        Raises:
            CancelledError: The reservation was closed.
        """
        need = self._unknown if peak_mb is None else peak_mb - self.base_mb

        def fits() -> bool:
            others = [mb for other, mb in self._promised.items() if other != case]
            return (
                self._closed or not others or self.base_mb + sum(others) + need <= self._limit_mb()
            )

        with self._changed:
            self._changed.wait_for(fits)
            if self._closed:
                raise CancelledError
            if peak_mb is not None:
                self._unknown = max(self._unknown, need)
                self.highest_mb = max(
                    self.highest_mb,
                    self.base_mb + need + sum(mb for o, mb in self._promised.items() if o != case),
                )
            self._promised[case] = need

    def release(self, case: str) -> None:
        """Release the memory of a case."""
        with self._changed:
            self._promised.pop(case, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Let no further case begin."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Case(Generic[T]):
    """The stages of one case, and its outcome."""

    def __init__(self, stages: Stages[T]) -> None:
        self._stages = stages
        self.outcome: Future[T] = Future()

    def step(self) -> None:
        """Run the next stage, unless the case has ended or failed."""
        if self.outcome.done():
            return
        try:
            next(self._stages)
        except StopIteration as end:
            self.outcome.set_result(end.value)
        except BaseException as error:  # not Exception: panics of Rust libraries are none
            # Raised again when the outcome is asked for; until then its frames hold the image.
            traceback.clear_frames(error.__traceback__)
            self.outcome.set_exception(error)


def run_stages(stages: Stages[T]) -> T:
    """Run all stages of one case in this thread and return its result."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            result: T = end.value
            return result


def run_serial(cases: Iterable[Stages[T]], take: Callable[[Future[T]], None]) -> None:
    """Run one case after another.

    Args:
        cases: See :func:`run_pipelined`.
        take: See :func:`run_pipelined`, but called in this thread.
    """
    for stages in cases:
        case = _Case(stages)
        while not case.outcome.done():
            case.step()
        take(case.outcome)


def run_pipelined(
    cases: Iterable[Stages[T]], take: Callable[[Future[T]], None], *, reservation: MemoryReservation
) -> None:
    """Run cases in a pipeline of three stages.

    While a case is in its second stage, the next one is in its first, and the previous one in its
    last.

    Args:
        cases: The stages of each case, at most three.
        take: Given the outcome of each case, in the order of the cases, in another thread. An
            exception that it raises ends everything.
        reservation: The cases' memory; closed when everything is ended early.
    """
    waiting = iter(cases)

    def begin() -> _Case[T] | None:
        stages = next(waiting, None)
        if stages is None:
            return None
        case = _Case(stages)
        case.step()
        return case

    def end(case: _Case[T]) -> None:
        case.step()
        take(case.outcome)

    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(1) as behind:
        try:
            coming = ahead.submit(begin)
            going: Future[None] | None = None
            while (case := coming.result()) is not None:
                coming = ahead.submit(begin)
                case.step()
                if going is not None:
                    going.result()
                going = behind.submit(end, case)
            if going is not None:
                going.result()
        except BaseException:
            # Such as Ctrl-C: what is being written is finished, and nothing else begins.
            reservation.close()
            raise
