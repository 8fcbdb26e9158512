"""Settings of ``label``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnstudent.cohort.cohort import Case
from nnstudent.errors import InputError
from nnstudent.pseudo.ensemble import DecisionRule


@dataclass(frozen=True)
class TeacherOptions:
    """How teachers are run.

    Attributes:
        decision: How the label of a voxel is chosen: ``dice``, so that each label has the best
            expected Dice (:func:`~nnstudent.pseudo.ensemble.dice_weights`), or ``argmax``, the most
            probable one.
        engine: What runs the network: ``auto``, ``openvino`` or ``torch``.
        device: ``auto`` (CUDA if torch finds a GPU), ``cpu`` or ``cuda``.
        threads: Processor threads; None for all.
        trust_pickle: Also load checkpoints that hold more than tensors.
    """

    decision: DecisionRule = "dice"
    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None
    trust_pickle: bool = False


@dataclass(frozen=True)
class LabelSettings:
    """Which cases are labeled, and what is recorded of them.

    Attributes:
        part: (i, n): only the i-th of n parts of the cases, 1 ≤ i ≤ n, so that n machines can share
            the work.
        round: Number of this round of labeling, for the ledger.
        previous: Folder of the previous round. If it is given, each record says how much the
            pseudo-label changed (:func:`~nnstudent.pseudo.stability.changed_share`).
        uncertainty: Also write the uncertainty maps (:mod:`nnstudent.cohort.uncertainty`).

    Raises:
        InputError: ``part`` is out of range.
    """

    part: tuple[int, int] = (1, 1)
    round: int = 1
    previous: Path | None = None
    uncertainty: bool = False

    def __post_init__(self) -> None:
        number, parts = self.part
        if not 1 <= number <= parts:
            raise InputError(f"--part {number}/{parts}: expected I/N with 1 ≤ I ≤ N")

    @property
    def part_name(self) -> str:
        """Name of the part, such as ``2 of 8``; empty if there is only one."""
        return "" if self.part == (1, 1) else f"{self.part[0]} of {self.part[1]}"

    def cases_of_part(self, cases: Sequence[Case]) -> Sequence[Case]:
        """Return the cases of this part."""
        number, parts = self.part
        return cases[number - 1 :: parts]
