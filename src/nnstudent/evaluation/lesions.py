"""Which lesions were found: what voxel-wise DSC says little about.

A lesion is a connected component (26 neighbors). A lesion of the truth and one of the prediction belong together if their
intersection over union is at least 0.1, one with one at most, so assigned that the sum of these is largest: the rule of the PI-CAI
challenge and of nnDetection for lesions in volumes. A stricter threshold would mostly measure outlines, which DSC and NSD do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from nnstudent.errors import GeometryError, InputError
from nnstudent.evaluation.metrics import Mask, boxes
from nnstudent.volume import Box

LEAST_IOU = 0.1
# Volumes in ml, about those of spheres of 10, 20, 30 and 50 mm across: what follow-up guidelines and staging go by.
BINS_ML = (0.5, 4.0, 14.0, 65.0)
_MORE = 1e-9  # of two assignments of the same sum, the one of more pairs
_NEIGHBORS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Lesion:
    """A lesion of the truth.

    Attributes:
        volume_ml: Its volume, in ml.
        iou: Intersection over union with the predicted lesion that belongs to it, 0 if none does.
    """

    volume_ml: float
    iou: float

    @property
    def found(self) -> bool:
        """Whether a predicted lesion belongs to it."""
        return self.iou > 0


@dataclass(frozen=True)
class Detection:
    """The lesions of one class in one case.

    Attributes:
        lesions: Those of the truth.
        false_ml: Volumes of the predicted lesions that belong to none of the truth, in ml.
        specks: How many components of truth and prediction were left out as too small.
    """

    lesions: tuple[Lesion, ...] = ()
    false_ml: tuple[float, ...] = ()
    specks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "lesions": [
                {"volume_ml": lesion.volume_ml, "found": lesion.found, "iou": lesion.iou}
                for lesion in self.lesions
            ],
            "false_positives_ml": list(self.false_ml),
            "specks": self.specks,
        }


def detect(
    prediction: Mask | None, truth: Mask, *, voxel_ml: float, minimum_ml: float = 0.0
) -> Detection:
    """Match the lesions of two masks.

    Components under ``minimum_ml`` count neither as missed nor as false; a predicted one of any size can find a lesion, and one that
    belongs to a speck of the truth is not false.

    Args:
        prediction: Mask of one class, (z, y, x); None where there is no prediction: every lesion is missed.
        truth: The other mask, on the same grid.
        voxel_ml: Volume of a voxel, in ml.
        minimum_ml: Volume under which a component is a speck, in ml.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape, or the volume of a voxel is not above 0.
    """
    if truth.ndim != 3 or (prediction is not None and prediction.shape != truth.shape):
        shape = None if prediction is None else prediction.shape
        raise GeometryError(
            f"masks of {shape} and {truth.shape} voxels; expected two of the same (z, y, x) shape"
        )
    if not voxel_ml > 0:
        raise GeometryError(f"a voxel of {voxel_ml} ml; expected a volume above 0")
    true = _Components(truth)
    predicted = _Components(np.zeros_like(truth) if prediction is None else prediction)
    iou = np.zeros(true.sizes.size)
    matched = np.zeros(predicted.sizes.size, bool)
    for row, column, value in _assigned(_overlaps(true, predicted)):
        iou[row], matched[column] = value, True
    true_ml, predicted_ml = true.sizes * voxel_ml, predicted.sizes * voxel_ml
    counts, false = true_ml >= minimum_ml, ~matched & (predicted_ml >= minimum_ml)
    specks = int(np.count_nonzero(~counts) + np.count_nonzero(~matched & ~false))
    lesions = tuple(
        Lesion(float(ml), float(value))
        for ml, value in zip(true_ml[counts], iou[counts], strict=True)
    )
    return Detection(lesions, tuple(float(ml) for ml in predicted_ml[false]), specks)


@dataclass(frozen=True)
class SizeBin:
    """Lesions of a range of volumes, from ``from_ml`` to below ``to_ml``; false ones are counted by their predicted volume."""

    from_ml: float
    to_ml: float
    lesions: int
    found: int
    false_positives: int

    @property
    def sensitivity(self) -> float:
        """Part of the lesions that was found; NaN if there is none."""
        return self.found / self.lesions if self.lesions else math.nan


@dataclass(frozen=True)
class DetectionSummary:
    """Lesion-wise detection over all cases in which the class was looked for.

    Attributes:
        lesions: How many the truth has.
        found: How many of them were found.
        false_positives: How many predicted ones belong to none.
        scans: How many cases it rests on.
        specks: How many components were left out as too small.
        bins: The same by size.
    """

    lesions: int
    found: int
    false_positives: int
    scans: int
    specks: int
    bins: tuple[SizeBin, ...]

    @property
    def sensitivity(self) -> float:
        """Part of all lesions that was found; NaN if there is none."""
        return self.found / self.lesions if self.lesions else math.nan

    @property
    def precision(self) -> float:
        """Part of the predicted lesions that belongs to one of the truth; NaN if none was predicted."""
        predicted = self.found + self.false_positives
        return self.found / predicted if predicted else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN if there is no lesion, neither true nor predicted."""
        both = self.lesions + self.found + self.false_positives
        return 2 * self.found / both if both else math.nan

    @property
    def false_per_scan(self) -> float:
        """False positives a scan."""
        return self.false_positives / self.scans if self.scans else math.nan

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; what is not defined, or has no end, is None."""
        return {
            "lesions": self.lesions, "found": self.found, "false_positives": self.false_positives, "scans": self.scans,
            "sensitivity": _known(self.sensitivity), "precision": _known(self.precision), "f1": _known(self.f1),
            "false_positives_per_scan": _known(self.false_per_scan), "specks": self.specks,
            "bins": [
                {"from_ml": item.from_ml, "to_ml": _known(item.to_ml), "lesions": item.lesions, "found": item.found,
                 "false_positives": item.false_positives, "sensitivity": _known(item.sensitivity)}
                for item in self.bins
            ],
            "rule": {"connectivity": 26, "least_iou": LEAST_IOU, "one_to_one": True},
        }  # fmt: skip


def summarize(
    detections: Iterable[Detection], *, edges_ml: Sequence[float] = BINS_ML
) -> DetectionSummary:
    """Pool the lesions of many cases.

    Args:
        detections: One a case.
        edges_ml: Volumes at which the bins part, in ml; rising.

    Raises:
        InputError: The edges do not rise, or one is not above 0.
    """
    edges = (0.0, *edges_ml, math.inf)
    if any(not low < high for low, high in pairwise(edges)):
        raise InputError(
            f"size bins that part at {list(edges_ml)} ml; expected rising volumes above 0"
        )
    cases = list(detections)
    lesions = [lesion for case in cases for lesion in case.lesions]
    false = [ml for case in cases for ml in case.false_ml]
    bins = tuple(
        SizeBin(
            low,
            high,
            lesions=sum(low <= lesion.volume_ml < high for lesion in lesions),
            found=sum(low <= lesion.volume_ml < high and lesion.found for lesion in lesions),
            false_positives=sum(low <= ml < high for ml in false),
        )
        for low, high in pairwise(edges)
    )
    found = sum(lesion.found for lesion in lesions)
    return DetectionSummary(
        len(lesions), found, len(false), len(cases), sum(case.specks for case in cases), bins
    )


class _Components:
    """The components of a mask: numbered from 1 in the box around the mask, and their sizes in voxels."""

    def __init__(self, mask: Mask) -> None:
        self.box: Box | None = boxes(mask.view(np.uint8)).get(1)
        self.labels: npt.NDArray[np.int32] = np.zeros((0, 0, 0), np.int32)
        self.sizes: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        if self.box is not None:
            self.labels, count = ndimage.label(mask[self.box], structure=_NEIGHBORS)
            self.sizes = np.bincount(self.labels.ravel(), minlength=count + 1)[1:]

    def inside(self, box: Box) -> npt.NDArray[np.int32]:
        """The numbers in a part of the own box."""
        if self.box is None:
            return self.labels
        z, y, x = (
            slice(part.start - own.start, part.stop - own.start)
            for part, own in zip(box, self.box, strict=True)
        )
        return self.labels[z, y, x]


Pairs = Mapping[tuple[int, int], float]


def _overlaps(true: _Components, predicted: _Components) -> Pairs:
    """Intersection over union of the components that overlap enough, by their places in ``sizes``."""
    if true.box is None or predicted.box is None:
        return {}
    z, y, x = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(true.box, predicted.box, strict=True)
    )
    if any(part.start >= part.stop for part in (z, y, x)):
        return {}
    one, other = true.inside((z, y, x)), predicted.inside((z, y, x))
    common = (one > 0) & (other > 0)
    pairs, counts = np.unique(
        np.stack([one[common], other[common]]) - 1, axis=1, return_counts=True
    )
    unions = true.sizes[pairs[0]] + predicted.sizes[pairs[1]] - counts
    found = zip(pairs[0], pairs[1], counts / unions, strict=True)
    return {(int(row), int(column)): float(iou) for row, column, iou in found if iou >= LEAST_IOU}


def _assigned(pairs: Pairs) -> list[tuple[int, int, float]]:
    if not pairs:
        return []
    rows, columns = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    places = [
        {number: place for place, number in enumerate(numbers)} for numbers in (rows, columns)
    ]
    gain = np.zeros((len(rows), len(columns)))
    for (row, column), iou in pairs.items():
        gain[places[0][row], places[1][column]] = iou + _MORE
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(rows[i], columns[j], pairs[rows[i], columns[j]]) for i, j in chosen if gain[i, j] > 0]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
