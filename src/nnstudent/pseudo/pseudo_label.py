"""A pseudo-label on disk: the label map ``<case>.nii.gz`` and its record ``<case>.json``."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from nnstudent.cohort.uncertainty import Uncertainty
from nnstudent.data_files import read_json_table
from nnstudent.pseudo.lesions import Lesion
from nnstudent.serialization import Record, to_plain
from nnstudent.types import LabelArray

V = TypeVar("V", str, int)
FORMAT = 1  # of the record; with another number every pseudo-label is made again


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one teacher predicts for one image.

    Attributes:
        labels: Ids of the label table on the image's grid, (z, y, x), uint8.
        confidence: For each class found, the mean ensemble probability over its voxels, 0 to 1.
        agreement: For each class that a fold found, the mean DSC between pairs of folds, 0 to 1;
            empty if there is only one fold.
        folds: Number of folds.
        uncertainty: Uncertainty of each voxel; None if it was not asked for.
        lesions: Each lesion with the agreement of the folds; empty if there is only one fold.
    """

    labels: LabelArray
    confidence: Mapping[str, float]
    agreement: Mapping[str, float]
    folds: int
    uncertainty: Uncertainty | None = None
    lesions: tuple[Lesion, ...] = ()


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """The record of a pseudo-label: who made it, and how good it may be.

    Attributes:
        case: The case's id.
        made_from: Hash of the image, the models and the settings that it was made from.
        classes: The classes that its models know, found or not; None if it was taken from a folder
            that does not say.
        models: For each known class, the hash of the model that decided on it.
        round: The round of labeling.
        confidence: For each class found, the mean ensemble probability over its voxels, 0 to 1.
        agreement: For each class that a fold found, the mean DSC between pairs of folds, 0 to 1;
            empty if there is only one fold.
        found: The classes in the label map.
        folds: For each known class, the number of folds of its model; empty if the label map was
            taken from a folder.
        seconds: Time that it took.
        volume_ml: Volume of each class found, in ml.
        changes: How much it changed from each round to the next, 0 to 1
            (:func:`~nnstudent.pseudo.stability.changed_share`); empty in the first round.
        class_change: For each class, the mean of these changes.
        compared_with: Identity of the pseudo-label that it was last compared with; empty if none.
        lesions: Each lesion with the agreement of the folds; empty if there is only one fold.
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
    compared_with: str = ""
    lesions: tuple[Lesion, ...] = ()

    @property
    def mean_change(self) -> float | None:
        """Mean change from round to round; None in the first round."""
        return sum(self.changes) / len(self.changes) if self.changes else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without ``made_from``, which the record adds."""
        data: dict[str, Any] = {
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
        }
        if self.lesions:
            data["lesions"] = to_plain(self.lesions)
        if self.changes:
            data["changes"] = list(self.changes)
            data["class_change"] = dict(self.class_change)
            data["compared_with"] = self.compared_with
        return data


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}


def pseudo_label_paths(folder: Path, case: str) -> tuple[Path, Path]:
    """Return where a case's label map and its record are."""
    return folder / f"{case}.nii.gz", folder / f"{case}.json"


def read_pseudo_label(folder: Path, case: str) -> PseudoLabel | None:
    """Read the record of a case's pseudo-label; None if there is none.

    Raises:
        InputError: The record is malformed.
    """
    image, record = pseudo_label_paths(folder, case)
    if not image.is_file() or not record.is_file():
        return None
    data = Record(read_json_table(record, what="a pseudo-label"), str(record))
    classes = data.get("classes", tuple[str, ...] | None)
    return PseudoLabel(
        case=data.get("case", str),
        made_from=data.get("made_from", str),
        classes=None if classes is None else _shared(classes),
        models=_shared_table(tuple(data.get("models", dict[str, str]).items())),
        round=data.get("round", int),
        confidence=ClassValues(data.get("confidence", dict[str, float])),
        agreement=ClassValues(data.get("agreement", dict[str, float])),
        found=_shared(data.get("found", tuple[str, ...])),
        folds=_shared_table(tuple(data.get("folds", dict[str, int]).items())),
        seconds=data.get("seconds", float),
        volume_ml=ClassValues(data.get("volume_ml", dict[str, float])),
        changes=data.get("changes", tuple[float, ...], ()),
        class_change=ClassValues(data.get("class_change", dict[str, float], {})),
        compared_with=data.get("compared_with", str, ""),
        lesions=data.get("lesions", tuple[Lesion, ...], ()),
    )


class ClassValues(Mapping[str, float]):
    """A number for each of some classes, in a fifth of a dictionary's memory.

    Of 150,000 cases each has several; their names are shared.
    """

    __slots__ = ("_names", "_numbers")

    def __init__(self, values: Mapping[str, float]) -> None:
        """Take the values of a dictionary."""
        self._names = _shared(tuple(values))
        self._numbers = array("d", list(values.values()))  # of a list: no room for more

    def __getitem__(self, name: str) -> float:
        try:
            return self._numbers[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"ClassValues({dict(self)})"


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return one and the same object for equal names."""
    return tuple(map(sys.intern, names))


@lru_cache(maxsize=4096)
def _shared_table(items: tuple[tuple[str, V], ...]) -> Mapping[str, V]:
    """Return one and the same table for equal items; models and folds are those of all cases."""
    return MappingProxyType(dict(items))
