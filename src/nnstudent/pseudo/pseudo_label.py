"""A pseudo-label on disk: ``<case>.nii.gz`` and, beside it, ``<case>.json`` with who made it and how sure they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnstudent.cohort.uncertainty import Uncertainty
from nnstudent.serialization import Record, read_json_table
from nnstudent.types import LabelArray

FORMAT = 1  # of the record; another makes every pseudo-label be made again


@dataclass(frozen=True, eq=False)
class Guess:
    """What one model says of one image.

    Attributes:
        labels: Ids of the label table on the image's grid, (z, y, x), uint8.
        confidence: Class → mean ensemble probability over the voxels that were given it; the classes found.
        agreement: Class → mean pairwise DSC between the folds; empty with one fold.
        folds: How many folds spoke.
        doubt: How probable the label of each voxel is and what it would be else; None where it was not asked for.
    """

    labels: LabelArray
    confidence: Mapping[str, float]
    agreement: Mapping[str, float]
    folds: int
    doubt: Uncertainty | None = None


@dataclass(frozen=True)
class PseudoLabel:
    """What a label map of a model's says about itself.

    Attributes:
        case: The case's id.
        made_from: Hash of the image, the models and the settings it was made from.
        classes: The classes that its makers know, whether or not they found them; None where labels made elsewhere do not say.
        models: For each known class, the hash of the model that gave it.
        round: The round of labelling.
        confidence: For each class found, the mean ensemble probability over the voxels that were given it, 0 to 1.
        agreement: For each class that a fold found, the mean DSC between pairs of folds; empty where there is only one fold.
        found: The classes in the label map.
        folds: For each known class, how many folds its model has; empty for labels made elsewhere.
        seconds: Time it took.
        volume_ml: Volume of each class found, in ml.
        changes: How much it changed from each round to the next, 0 to 1 (:func:`~nnstudent.pseudo.stability.changed`); empty in the first.
        class_change: The mean of that over rounds for each class.
        against: Identity of what it was compared with last; empty if with nothing.
    """

    case: str
    made_from: str
    classes: tuple[str, ...] | None
    models: Mapping[str, str]
    round: int
    confidence: Mapping[str, float]
    agreement: Mapping[str, float]
    found: tuple[str, ...]
    folds: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    volume_ml: Mapping[str, float] = field(default_factory=dict)
    changes: tuple[float, ...] = ()
    class_change: Mapping[str, float] = field(default_factory=dict)
    against: str = ""

    @property
    def change(self) -> float | None:
        """The mean of how much it changed from round to round; None in the first."""
        return sum(self.changes) / len(self.changes) if self.changes else None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without ``made_from``, which the record adds."""
        return {
            "case": self.case,
            "classes": None if self.classes is None else list(self.classes),
            "found": list(self.found),
            "models": dict(self.models),
            "folds": dict(self.folds),
            "round": self.round,
            "confidence": _rounded(self.confidence),
            "agreement": _rounded(self.agreement),
            "volume_ml": _rounded(self.volume_ml),
            "seconds": round(self.seconds, 2),
            **(
                {
                    "changes": list(self.changes),
                    "class_change": dict(self.class_change),
                    "against": self.against,
                }
                if self.changes
                else {}
            ),
        }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}


def paths(folder: Path, case: str) -> tuple[Path, Path]:
    """Where a case's label map and its record are."""
    return folder / f"{case}.nii.gz", folder / f"{case}.json"


def read_pseudo_label(folder: Path, case: str) -> PseudoLabel | None:
    """Read the record of a case; None where the case has no pseudo-label.

    Raises:
        InputError: The record is malformed.
    """
    image, record = paths(folder, case)
    if not image.is_file() or not record.is_file():
        return None
    data = Record(read_json_table(record, what="a pseudo-label"), str(record))
    return PseudoLabel(
        case=data.get("case", str),
        made_from=data.get("made_from", str),
        classes=data.get("classes", tuple[str, ...] | None),
        models=data.get("models", dict[str, str]),
        round=data.get("round", int),
        confidence=data.get("confidence", dict[str, float]),
        agreement=data.get("agreement", dict[str, float]),
        found=data.get("found", tuple[str, ...]),
        folds=data.get("folds", dict[str, int]),
        seconds=data.get("seconds", float),
        volume_ml=data.get("volume_ml", dict[str, float]),
        changes=data.get("changes", tuple[float, ...], ()),
        class_change=data.get("class_change", dict[str, float], {}),
        against=data.get("against", str, ""),
    )
