"""Strategies that choose which scan somebody should correct next: those of ``qc --next``."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nnstudent.evaluation.ranking import candidate_of
from nnstudent.inference.labels.volumetry import read_statistics
from nnstudent.quality import choose
from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.job import Job
from nnstudent.words import did_you_mean

_HANDED_OUT_SECONDS = 1800.0  # for this long, a scan that one person got is not given to another
_TABLES = 4096  # that are remembered; a result never changes

FIRST = "first"
STRATEGIES = {
    FIRST: "the scans in the order of their names",
    "quality": "the scan with the lowest expected Dice of an organ",
    "uncertainty": "each organ in turn, the scan in which the model is least sure of it",
    "diversity": "a scan that looks unlike the others, by volume and density of its organs",
    "random-foreground": "a scan at random in which an organ drawn at random was found, for "
    "comparison",
    "random": "a scan at random, for comparison",
}


@dataclass(frozen=True)
class Candidate:
    """A scan to choose.

    Attributes:
        scan: The scan.
        result: The job that segmented it, or None.
    """

    scan: Scan
    result: Job | None

    @property
    def table(self) -> Path | None:
        """What was measured of the scan; None if it has not been segmented."""
        if self.result is None or self.result.state != "done":
            return None
        path = self.result.output / "statistics.csv"
        return path if path.is_file() else None


class Chooser:
    """Chooses scans, and gives no two people the same one."""

    def __init__(self) -> None:
        """Begin with no scan handed out."""
        self._handed_out: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def next(
        self,
        strategy: str,
        candidates: Sequence[Candidate],
        *,
        by: str,
        corrected: Sequence[Candidate] = (),
    ) -> Scan | None:
        """Choose a scan; None if there is none left.

        All strategies but ``first`` choose among the scans that were segmented. While none of them
        is, they too begin with the first.

        Args:
            strategy: One of :data:`STRATEGIES`.
            candidates: The scans that nobody has corrected.
            by: Who asks.
            corrected: The scans that were corrected.

        Raises:
            NotFoundError: There is no such strategy.
            InputError: The strategy is ``quality``, and the model has no calibration.
        """
        if strategy not in STRATEGIES:
            hint = did_you_mean(strategy, STRATEGIES)
            raise NotFoundError(f"no such strategy; expected one of {', '.join(STRATEGIES)}{hint}")
        with self._lock:
            now = time.monotonic()
            taken = {
                id for id, (who, until) in self._handed_out.items() if who != by and until > now
            }
            free = [one for one in candidates if one.scan.id not in taken]
            if not free:
                return None
            scan = _chosen(strategy, free, corrected)
            self._handed_out[scan.id] = (by, now + _HANDED_OUT_SECONDS)
            return scan


def _chosen(strategy: str, candidates: Sequence[Candidate], corrected: Sequence[Candidate]) -> Scan:
    """The scan that a strategy chooses among at least one."""
    scans = {one.scan.id: one.scan for one in candidates}
    measured = _all_measured(candidates)
    if strategy == FIRST or not measured:
        return candidates[0].scan
    (id,) = choose.choose_next(
        measured,
        1,
        strategy=strategy,
        corrected=_all_measured(corrected),
        seed=secrets.randbits(32),
    )
    return scans[id]


def _all_measured(some: Sequence[Candidate]) -> list[choose.Candidate]:
    tables = [(one.scan.id, one.table) for one in some]
    return [_measured(id, table) for id, table in tables if table is not None]


@lru_cache(maxsize=_TABLES)
def _measured(id: str, table: Path) -> choose.Candidate:
    return candidate_of(id, read_statistics(table))
