"""Strategies that choose which scan somebody should correct next."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.job import Job
from nnstudent.words import did_you_mean

_HANDED_OUT_SECONDS = 1800.0  # for this long, a scan that one person got is not given to another


@dataclass(frozen=True)
class Candidate:
    """A scan that nobody has corrected.

    Attributes:
        scan: The scan.
        result: The job that segmented it, or None.
    """

    scan: Scan
    result: Job | None


@dataclass(frozen=True)
class Strategy:
    """A way to choose.

    Attributes:
        description: What it does, in one line.
        choose: Returns the index of one of the candidates, which are at least one.
    """

    description: str
    choose: Callable[[Sequence[Candidate]], int]


def _random(candidates: Sequence[Candidate]) -> int:
    return random.randrange(len(candidates))  # noqa: S311  # nothing secret


def _least_confident(candidates: Sequence[Candidate]) -> int:
    """Choose where some organ is least sure, compared with the same organ of the other scans.

    Organs differ: an adrenal gland is never as sure as a liver.
    """
    by_organ: dict[str, list[float]] = {}
    for candidate in candidates:
        for name, confidence in _confidences(candidate.result).items():
            by_organ.setdefault(name, []).append(confidence)
    typical = {name: sorted(values)[len(values) // 2] for name, values in by_organ.items()}

    def shortfall(candidate: Candidate) -> float:
        below = (
            typical[name] - confidence
            for name, confidence in _confidences(candidate.result).items()
        )
        return max(below, default=float("-inf"))

    return max(range(len(candidates)), key=lambda index: shortfall(candidates[index]))


def _confidences(job: Job | None) -> dict[str, float]:
    organs = [] if job is None or job.organs is None else job.organs
    return {
        organ["name"]: organ["confidence"] for organ in organs if organ["confidence"] is not None
    }


STRATEGIES: dict[str, Strategy] = {
    "first": Strategy("the scans in the order of their names", lambda candidates: 0),
    "random": Strategy("a scan at random, for comparison", _random),
    "confidence": Strategy(
        "the scan with the organ that the model is least sure of, compared with that organ in the "
        "others; scans that were segmented come first",
        _least_confident,
    ),
}


class Chooser:
    """Chooses scans, and gives no two people the same one."""

    def __init__(self, strategies: Mapping[str, Strategy] = STRATEGIES) -> None:
        """Choose with these strategies."""
        self.strategies = strategies
        self._handed_out: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def next(self, strategy: str, candidates: Sequence[Candidate], *, by: str) -> Scan | None:
        """Choose a scan; None if there is none left.

        Args:
            strategy: Name of a strategy.
            candidates: The scans that nobody has corrected.
            by: Who asks.

        Raises:
            NotFoundError: There is no such strategy.
        """
        found = self.strategies.get(strategy)
        if found is None:
            hint = did_you_mean(strategy, self.strategies)
            raise NotFoundError(
                f"no such strategy; expected one of {', '.join(self.strategies)}{hint}"
            )
        with self._lock:
            now = time.monotonic()
            taken = {
                id for id, (who, until) in self._handed_out.items() if who != by and until > now
            }
            free = [one for one in candidates if one.scan.id not in taken]
            if not free:
                return None
            scan = free[found.choose(free)].scan
            self._handed_out[scan.id] = (by, now + _HANDED_OUT_SECONDS)
            return scan
