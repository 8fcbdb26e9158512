"""Rounds of labelling: where each lies in a run's folder, and when another would change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnstudent.pipeline.stages import Outcome
from nnstudent.pseudo.pseudo_label import read_pseudo_label

SETTLED = 0.02  # mean share of the foreground: two trainings of the same network on the same labels differ by as much


@dataclass(frozen=True)
class Round:
    """One round: cases are labeled by the best models so far, selected, and studied.

    Attributes:
        number: From 1.
        folder: Holds ``pseudo``, ``fused`` and ``student``: of the first round the run's folder itself, of a later one ``roundN`` in it.
    """

    number: int
    folder: Path

    @property
    def pseudo(self) -> Path:
        """Its pseudo-labels."""
        return self.folder / "pseudo"

    @property
    def fused(self) -> Path:
        """Truth over pseudo-labels."""
        return self.folder / "fused"

    @property
    def student(self) -> Path:
        """The student that learned from them."""
        return self.folder / "student"

    def called(self, stage: str) -> str:
        """Name of a stage in this round."""
        return stage if self.number == 1 else f"{stage} {self.number}"

    def change(self, cases: Iterable[str]) -> float | None:
        """Mean over these cases of the share of the foreground that changed since the round before; None where nothing tells."""
        found = (read_pseudo_label(self.pseudo, case) for case in cases)
        last = [item.changes[-1] for item in found if item is not None and item.changes]
        return sum(last) / len(last) if last else None


def rounds_in(run: Path, count: int) -> tuple[Round, ...]:
    """So many rounds of a run, in order."""
    return tuple(
        Round(number, run if number == 1 else run / f"round{number}")
        for number in range(1, count + 1)
    )


def settled_in(rounds: Iterable[Round], cases: Iterable[str]) -> Round | None:
    """The first round whose labels are those of the round before, as good as unchanged: it has nothing new to teach."""
    ids = tuple(cases)
    for one in rounds:
        change = one.change(ids) if one.number > 1 else None
        if change is not None and change < SETTLED:
            return one
    return None


def unchanged(settled: Round) -> Outcome:
    """What a stage of a round says that has nothing to do, because labels had settled before."""
    return Outcome(f"nothing has changed in round {settled.number}", skipped=True)
