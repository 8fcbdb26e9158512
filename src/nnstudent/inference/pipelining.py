"""Cases in a row, up to three of which are in work at once: the next is read, one is with the network, the last one is written.

Reading, unpacking and packing keep one core busy, the network keeps all: beside each other they leave none idle. Each case is a
generator of three stages, the first and the last of which run in threads of their own, always in the order of the cases.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
# Work that stops where another thread may go on with it: once what comes before the network is done, and once the network has run.
Stages = Generator[None, None, T]


class MemoryReservation:
    """Memory that the cases in work have been promised: another begins only if what it needs fits beside them.

    Attributes:
        base_mb: Resident memory with no case in work, in MiB.
        highest_mb: Most that has been promised at once, the base included.
    """

    def __init__(self, *, base_mb: float, limit_mb: Callable[[], float], strict: bool) -> None:
        """Make room.

        Args:
            base_mb: Resident memory with no case in work, in MiB.
            limit_mb: Tells what resident memory must stay under at present, in MiB.
            strict: Whether a case of unknown size waits until it is alone; else it is taken to be as large as the largest so far.
        """
        self.base_mb = self.highest_mb = base_mb
        self._limit_mb = limit_mb
        self._unknown = float("inf") if strict else 0.0
        self._promised: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closed = False

    def acquire(self, case: str, peak_mb: float | None) -> None:
        """Promise a case its memory; waits until that fits beside the others, or there are none.

        Args:
            case: Its id; what it had before is replaced.
            peak_mb: Predicted peak of the process if it were alone, in MiB; None where that is not known.

        Raises:
            CancelledError: The room has been closed.
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
        """Give back what a case was promised."""
        with self._changed:
            self._promised.pop(case, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Let no case begin any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Case(Generic[T]):
    """Stages, and what has become of them."""

    def __init__(self, stages: Stages[T]) -> None:
        self._stages = stages
        self.outcome: Future[T] = Future()

    def step(self) -> None:
        """Do the next stage, if it has not ended or failed."""
        if self.outcome.done():
            return
        try:
            next(self._stages)
        except StopIteration as end:
            self.outcome.set_result(end.value)
        except BaseException as error:  # raised where the outcome is asked for; a panic of a Rust library is no Exception
            traceback.clear_frames(error.__traceback__)  # or they would hold the image until then
            self.outcome.set_exception(error)


def run_stages(stages: Stages[T]) -> T:
    """Do all stages here and now."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            result: T = end.value
            return result


def run_serial(cases: Iterable[Stages[T]], take: Callable[[Future[T]], None]) -> None:
    """Do one case after the other; for the arguments see :func:`run_pipelined`."""
    for stages in cases:
        case = _Case(stages)
        while not case.outcome.done():
            case.step()
        take(case.outcome)


def run_pipelined(
    cases: Iterable[Stages[T]], take: Callable[[Future[T]], None], *, reservation: MemoryReservation
) -> None:
    """Do cases in a row, the first stage of the next and the last one of the one before beside the second of each.

    Args:
        cases: The stages of each, three at most.
        take: Given what became of each, in the order of the cases, in another thread; what it raises ends all.
        reservation: What the cases take their memory from; closed where all is ended.
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
        except (
            BaseException
        ):  # such as a key that stops it: what is being written is finished, nothing more is begun
            reservation.close()
            raise
