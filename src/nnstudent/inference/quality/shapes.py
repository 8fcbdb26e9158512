"""Shape, place and density of each class of a label map, on a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from nnstudent.inference.labels.run_length import connected, find_runs
from nnstudent.quality.features import NAN
from nnstudent.types import Float64Array, IndexArray, LabelArray
from nnstudent.volume import Grid, Spacing, Volume

CELL_MM = 2.5  # every so many mm a voxel is looked at: the cost is the same for every scan
_BALL = (36 * np.pi) ** (1 / 3)  # surface of a ball divided by its volume to the power 2/3
_FACE = 1.5  # faces of voxels have this much more area than the smooth surface that they follow


@dataclass(frozen=True, eq=False)
class Coarse:
    """An image and its labels at every so many voxels.

    Attributes:
        image: Values, (z, y, x).
        labels: Labels on the same grid.
        grid: The coarse grid.
    """

    image: Float64Array
    labels: LabelArray
    grid: Grid


def coarsen(image: Volume, labels: Volume) -> Coarse:
    """Take every so many voxels of an image and its label map.

    Args:
        image: The image.
        labels: Its label map, on the same grid.
    """
    grid = labels.grid
    step = [max(1, int(CELL_MM / mm)) for mm in grid.spacing_mm]
    where = tuple(
        slice(by // 2 if n > by // 2 else 0, None, by)
        for by, n in zip(step, grid.shape, strict=True)
    )
    z, y, x = where
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [x.start, y.start, z.start]
    affine[:3, :3] *= step[::-1]
    small = np.ascontiguousarray(labels.array[where])
    return Coarse(np.asarray(image.array[where], np.float64), small, Grid(small.shape, affine))


def shape_features(coarse: Coarse) -> dict[int, dict[str, float]]:
    """Measure each class.

    Args:
        coarse: The image and its labels.

    Returns:
        By id: ``pieces``, ``largest``, ``holes``, ``roughness``, ``contact``, ``mean_hu``,
        ``sd_hu``, ``right_mm``, ``front_mm`` and ``up_mm`` of
        :class:`~nnstudent.quality.features.OrganFeatures`.
    """
    labels, grid = coarse.labels, coarse.grid
    inside = labels > 0
    own = labels[inside]
    counts = np.bincount(own, minlength=256)
    where = np.argwhere(inside)[:, ::-1].astype(np.float64)  # (x, y, z)
    world = where @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    hu = coarse.image[inside]
    with np.errstate(invalid="ignore", divide="ignore"):
        centroids = [np.bincount(own, world[:, k], minlength=256) / counts for k in range(3)]
        mean = np.bincount(own, hu, minlength=256) / counts
        square = np.bincount(own, hu**2, minlength=256) / counts
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    surface, touching = _surfaces(labels, grid.spacing_mm)
    pieces, largest = _pieces(labels)
    features: dict[int, dict[str, float]] = {}
    for id in np.flatnonzero(counts):
        volume = counts[id] * grid.voxel_ml * 1000
        features[int(id)] = {
            "pieces": float(pieces[id]),
            "largest": float(largest[id] / counts[id]),
            "holes": _holes(labels == id) / float(counts[id]),
            "roughness": float(surface[id] / (_FACE * _BALL * volume ** (2 / 3))),
            "contact": float(touching[id] / surface[id]) if surface[id] else NAN,
            "mean_hu": float(mean[id]),
            "sd_hu": float(deviation[id]),
            "right_mm": float(centroids[0][id]),
            "front_mm": float(centroids[1][id]),
            "up_mm": float(centroids[2][id]),
        }
    return features


def noise_hu(coarse: Coarse) -> float:
    """Noise inside the organs: the spread of the difference of neighbors along x, in HU."""
    labels = coarse.labels
    same = (labels[..., 1:] == labels[..., :-1]) & (labels[..., 1:] > 0)
    if not same.any():
        return NAN
    difference = (coarse.image[..., 1:] - coarse.image[..., :-1])[same]
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(2))


def _surfaces(labels: LabelArray, spacing_mm: Spacing) -> tuple[Float64Array, Float64Array]:
    """Area of the faces of each class, and of those shared with another class, in mm²."""
    surface, touching = np.zeros(256), np.zeros(256)
    for axis in range(3):
        area = float(np.prod([mm for k, mm in enumerate(spacing_mm) if k != axis]))
        before = labels.take(range(labels.shape[axis] - 1), axis=axis)
        after = labels.take(range(1, labels.shape[axis]), axis=axis)
        differs = before != after
        one, other = before[differs], after[differs]
        both = (one > 0) & (other > 0)
        for ids in (one, other):
            surface += area * np.bincount(ids, minlength=256)
            touching += area * np.bincount(ids[both], minlength=256)
    return surface, touching


def _pieces(labels: LabelArray) -> tuple[IndexArray, Float64Array]:
    """Number of pieces of each class, and the voxels of its largest."""
    runs = find_runs(labels)
    piece = connected(runs)
    number, largest = np.zeros(256, np.intp), np.zeros(256)
    if not len(piece):
        return number, largest
    size = np.bincount(piece, runs.stop - runs.start)
    label = np.zeros(len(size), np.uint8)
    label[piece] = runs.label
    number += np.bincount(label, minlength=256)
    np.maximum.at(largest, label, size)
    return number, largest


def _holes(mask: np.typing.NDArray[np.bool_]) -> float:
    """Voxels that a mask encloses."""
    box = scipy.ndimage.find_objects(mask.view(np.uint8))[0]
    part = mask[box]
    return float(scipy.ndimage.binary_fill_holes(part).sum() - part.sum())
