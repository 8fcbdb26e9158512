"""Detection of lesions, about which voxel-wise DSC says little.

A lesion is a connected component (26 neighbors). A true and a predicted lesion match if their
intersection over union (IoU) is at least 0.1. Matches are one to one and chosen so that the sum of
IoU is largest, as in the PI-CAI challenge and nnDetection. A stricter threshold would mostly
measure outlines, as DSC and NSD do.
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
from nnstudent.evaluation.metrics import bounding_boxes
from nnstudent.types import IndexArray, MaskArray
from nnstudent.volume import Box

LEAST_IOU = 0.1
# Volumes of spheres of about 10, 20, 30 and 50 mm in diameter, used in follow-up and staging.
BINS_ML = (0.5, 4.0, 14.0, 65.0)
_PAIR_BONUS = 1e-9  # prefers more pairs among assignments of the same sum
_NEIGHBORS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Lesion:
    """A true lesion.

    Attributes:
        volume_ml: Volume in ml.
        iou: IoU with the matching predicted lesion; 0 if there is none.
    """

    volume_ml: float
    iou: float

    @property
    def found(self) -> bool:
        """Whether a predicted lesion matches it."""
        return self.iou > 0


@dataclass(frozen=True)
class Detection:
    """The lesions of one class in one case.

    Attributes:
        lesions: The true lesions.
        false_ml: Volumes in ml of the predicted lesions that match no true lesion.
        below_minimum: Number of components of truth and prediction that were left out as too
            small.
    """

    lesions: tuple[Lesion, ...] = ()
    false_ml: tuple[float, ...] = ()
    below_minimum: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The detection as plain data for JSON."""
        return {
            "lesions": [
                {"volume_ml": lesion.volume_ml, "found": lesion.found, "iou": lesion.iou}
                for lesion in self.lesions
            ],
            "false_positives_ml": list(self.false_ml),
            "below_minimum": self.below_minimum,
        }


def detect(
    prediction: MaskArray | None, truth: MaskArray, *, voxel_ml: float, minimum_ml: float = 0.0
) -> Detection:
    """Match the lesions of two masks.

    Components below ``minimum_ml`` count neither as missed nor as false. A predicted component of
    any size can match a lesion, and one that matches a true component below the minimum is not
    false.

    Args:
        prediction: Predicted mask of one class, (z, y, x); None if there is no prediction, so that
            every lesion is missed.
        truth: True mask on the same grid.
        voxel_ml: Volume of a voxel, in ml.
        minimum_ml: Least volume of a component that counts, in ml.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape, or the volume of a
            voxel is not above 0.
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
    for row, column, value in _match(_overlaps(true, predicted)):
        iou[row], matched[column] = value, True
    true_ml, predicted_ml = true.sizes * voxel_ml, predicted.sizes * voxel_ml
    counts, false = true_ml >= minimum_ml, ~matched & (predicted_ml >= minimum_ml)
    below_minimum = int(np.count_nonzero(~counts) + np.count_nonzero(~matched & ~false))
    lesions = tuple(
        Lesion(float(ml), float(value))
        for ml, value in zip(true_ml[counts], iou[counts], strict=True)
    )
    return Detection(lesions, tuple(float(ml) for ml in predicted_ml[false]), below_minimum)


@dataclass(frozen=True)
class SizeBin:
    """Lesions with volumes from ``from_ml`` to below ``to_ml``.

    False positives are counted by their predicted volume.
    """

    from_ml: float
    to_ml: float
    lesions: int
    found: int
    false_positives: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were found; NaN if there are none."""
        return self.found / self.lesions if self.lesions else math.nan


@dataclass(frozen=True)
class DetectionSummary:
    """Detection of lesions over all cases in which the class is annotated.

    Attributes:
        lesions: Number of true lesions.
        found: Number of true lesions that were found.
        false_positives: Number of predicted lesions that match no true lesion.
        scans: Number of cases.
        below_minimum: Number of components that were left out as too small.
        bins: The same by size.
    """

    lesions: int
    found: int
    false_positives: int
    scans: int
    below_minimum: int
    bins: tuple[SizeBin, ...]

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were found; NaN if there are none."""
        return self.found / self.lesions if self.lesions else math.nan

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that match a true one; NaN if none were predicted."""
        predicted = self.found + self.false_positives
        return self.found / predicted if predicted else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision; NaN without true or predicted lesions."""
        both = self.lesions + self.found + self.false_positives
        return 2 * self.found / both if both else math.nan

    @property
    def false_per_scan(self) -> float:
        """False positives per scan."""
        return self.false_positives / self.scans if self.scans else math.nan

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON; undefined and infinite values are None."""
        return {
            "lesions": self.lesions,
            "found": self.found,
            "false_positives": self.false_positives,
            "scans": self.scans,
            "sensitivity": _known(self.sensitivity),
            "precision": _known(self.precision),
            "f1": _known(self.f1),
            "false_positives_per_scan": _known(self.false_per_scan),
            "below_minimum": self.below_minimum,
            "bins": [
                {
                    "from_ml": item.from_ml,
                    "to_ml": _known(item.to_ml),
                    "lesions": item.lesions,
                    "found": item.found,
                    "false_positives": item.false_positives,
                    "sensitivity": _known(item.sensitivity),
                }
                for item in self.bins
            ],
            "rule": {"connectivity": 26, "least_iou": LEAST_IOU, "one_to_one": True},
        }


def summarize(
    detections: Iterable[Detection], *, edges_ml: Sequence[float] = BINS_ML
) -> DetectionSummary:
    """Pool the lesions of many cases.

    Args:
        detections: One per case.
        edges_ml: Edges of the size bins in ml, in ascending order.

    Raises:
        InputError: The edges do not ascend, or one is not above 0.
    """
    edges = (0.0, *edges_ml, math.inf)
    if any(not low < high for low, high in pairwise(edges)):
        raise InputError(
            f"size bins with edges at {list(edges_ml)} ml; expected ascending volumes above 0"
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
        len(lesions), found, len(false), len(cases), sum(case.below_minimum for case in cases), bins
    )


class _Components:
    """Connected components of a mask: numbers from 1 in the mask's box, and sizes in voxels."""

    def __init__(self, mask: MaskArray) -> None:
        self.box: Box | None = bounding_boxes(mask.view(np.uint8)).get(1)
        self.labels: npt.NDArray[np.int32] = np.zeros((0, 0, 0), np.int32)
        self.sizes: IndexArray = np.zeros(0, np.intp)
        if self.box is not None:
            self.labels, count = ndimage.label(mask[self.box], structure=_NEIGHBORS)
            self.sizes = np.bincount(self.labels.ravel(), minlength=count + 1)[1:]

    def inside(self, box: Box) -> npt.NDArray[np.int32]:
        """The numbers in a part of the mask's box."""
        if self.box is None:
            return self.labels
        z, y, x = (
            slice(part.start - own.start, part.stop - own.start)
            for part, own in zip(box, self.box, strict=True)
        )
        return self.labels[z, y, x]


_Overlaps = Mapping[tuple[int, int], float]


def _overlaps(true: _Components, predicted: _Components) -> _Overlaps:
    """IoU of the components that overlap enough, by their indices in ``sizes``."""
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


def _match(pairs: _Overlaps) -> list[tuple[int, int, float]]:
    """The one-to-one matches with the largest sum of IoU: true index, predicted index, IoU."""
    if not pairs:
        return []
    rows, columns = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    places = [
        {number: place for place, number in enumerate(numbers)} for numbers in (rows, columns)
    ]
    gain = np.zeros((len(rows), len(columns)))
    for (row, column), iou in pairs.items():
        gain[places[0][row], places[1][column]] = iou + _PAIR_BONUS
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(rows[i], columns[j], pairs[rows[i], columns[j]]) for i, j in chosen if gain[i, j] > 0]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
