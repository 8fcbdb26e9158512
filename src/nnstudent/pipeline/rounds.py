"""Rounds of labeling: their folders in a run, and when another round would change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnstudent.pseudo.pseudo_label import read_pseudo_label

# Mean share of the foreground. Two trainings of one network on the same labels differ as much.
SETTLED = 0.02


@dataclass(frozen=True)
class Round:
    """One round: the best models so far label the cases, labels are selected, a student studies.

    Attributes:
        number: From 1.
        folder: Holds ``pseudo``, ``fused`` and ``student``. It is the run's folder in the first
            round and ``roundN`` in it in a later one.
    """

    number: int
    folder: Path

    @property
    def pseudo(self) -> Path:
        """The pseudo-labels."""
        return self.folder / "pseudo"

    @property
    def fused(self) -> Path:
        """The fused cohort: truth over pseudo-labels."""
        return self.folder / "fused"

    @property
    def student(self) -> Path:
        """The student that learned from the fused cohort."""
        return self.folder / "student"

    def stage_name(self, stage: str) -> str:
        """Return the name of a stage in this round, such as ``label`` or ``label 2``."""
        return stage if self.number == 1 else f"{stage} {self.number}"

    def change(self, cases: Iterable[str]) -> float | None:
        """Return the mean share of the foreground that changed since the round before.

        Args:
            cases: Ids of the cases to average over.

        Returns:
            0 to 1, or None if no case has a record of it.
        """
        found = (read_pseudo_label(self.pseudo, case) for case in cases)
        last = [item.changes[-1] for item in found if item is not None and item.changes]
        return sum(last) / len(last) if last else None


def rounds_of(run: Path, count: int) -> tuple[Round, ...]:
    """Return the first ``count`` rounds of a run, in order."""
    later = (Round(number, run / f"round{number}") for number in range(2, count + 1))
    return (Round(1, run), *later)


def first_settled(rounds: Iterable[Round], cases: Iterable[str]) -> Round | None:
    """Return the first round whose labels hardly differ from those of the round before.

    It has nothing new to teach.

    Args:
        rounds: The rounds, in order.
        cases: Ids of the cases to judge by.
    """
    ids = tuple(cases)
    for one in rounds:
        change = one.change(ids) if one.number > 1 else None
        if change is not None and change < SETTLED:
            return one
    return None
