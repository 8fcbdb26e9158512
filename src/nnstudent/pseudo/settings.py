"""Settings of ``label``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnstudent.io.parts import WHOLE, Part
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
        precision: ``fp32``, the same on every machine; ``auto``, the fastest on this one that is
            about as exact; ``bf16`` or ``int8``.
        threads: Processor threads; None for all.
        trust_pickle: Also load checkpoints that hold more than tensors.
    """

    decision: DecisionRule = "dice"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    trust_pickle: bool = False


@dataclass(frozen=True)
class LabelSettings:
    """Which cases are labeled, and what is recorded of them.

    Attributes:
        part: Only this part of the cases, so that several machines can share the work.
        round: Number of this round of labeling, for the ledger.
        previous: Folder of the previous round. If it is given, each record says how much the
            pseudo-label changed (:func:`~nnstudent.pseudo.stability.changed_share`).
        uncertainty: Also write the uncertainty maps (:mod:`nnstudent.cohort.uncertainty`).
    """

    part: Part = WHOLE
    round: int = 1
    previous: Path | None = None
    uncertainty: bool = False
