"""Shape, place and density of each class of a label map, on a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.quality.features import NAN
from nnstudent.types import Float64Array, LabelArray, MaskArray
from nnstudent.volume import Grid, Spacing, Volume

CELL_MM = 2.5  # every so many mm a voxel is looked at: the cost is the same for every scan
_BALL = (36 * np.pi) ** (1 / 3)  # surface of a ball divided by its volume to the power 2/3
_PLANES = 8  # whose voxels are counted at once
_FACE = 1.5  # faces of voxels have this much more area than the smooth surface that they follow


@dataclass(frozen=True, eq=False)
class Coarse:
    """An image and its labels at every so many voxels.

    Attributes:
        image: Values, (z, y, x); a view of the image.
        labels: Labels on the same grid.
        grid: The coarse grid.
    """

    image: npt.NDArray[Any]
    labels: LabelArray
    grid: Grid


def coarse_steps(grid: Grid) -> list[int]:
    """Every how many voxels of a grid one is looked at, along z, y and x."""
    return [max(1, int(CELL_MM / mm)) for mm in grid.spacing_mm]


def coarsen(image: Volume, labels: Volume) -> Coarse:
    """Take every so many voxels of an image and its label map.

    Args:
        image: The image.
        labels: Its label map, on the same grid.
    """
    grid = labels.grid
    step = coarse_steps(grid)
    where = tuple(
        slice(by // 2 if n > by // 2 else 0, None, by)
        for by, n in zip(step, grid.shape, strict=True)
    )
    z, y, x = where
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [x.start, y.start, z.start]
    affine[:3, :3] *= step[::-1]
    small = np.ascontiguousarray(labels.array[where])
    return Coarse(image.array[where], small, Grid(small.shape, affine))


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
    counts, sums = _sums(coarse)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, z, mean, square = sums / counts
    middle = np.stack([x, y, z], axis=1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    surface, touching = _surfaces(labels, grid.spacing_mm)
    boxes = scipy.ndimage.find_objects(labels)
    features: dict[int, dict[str, float]] = {}
    for id in np.flatnonzero(counts):
        mask = labels[boxes[id - 1]] == id
        pieces, largest = _pieces(mask)
        volume = counts[id] * grid.voxel_ml * 1000
        features[int(id)] = {
            "pieces": float(pieces),
            "largest": float(largest / counts[id]),
            "holes": _holes(mask) / float(counts[id]),
            "roughness": float(surface[id] / (_FACE * _BALL * volume ** (2 / 3))),
            "contact": float(touching[id] / surface[id]) if surface[id] else NAN,
            "mean_hu": float(mean[id]),
            "sd_hu": float(deviation[id]),
            "right_mm": float(middle[id, 0]),
            "front_mm": float(middle[id, 1]),
            "up_mm": float(middle[id, 2]),
        }
    return features


def noise_hu(coarse: Coarse) -> float:
    """Noise inside the organs: the spread of the difference of neighbors along x, in HU."""
    # Plane by plane into one array: the differences of all voxels are the most that is held.
    differences = np.empty(sum(int(_alike(plane).sum()) for plane in coarse.labels), np.float32)
    if not len(differences):
        return NAN
    end = 0
    for plane, values in zip(coarse.labels, coarse.image, strict=True):
        found = np.diff(values.astype(np.float32), axis=1)[_alike(plane)]
        differences[end : end + len(found)] = found
        end += len(found)
    np.abs(differences, out=differences)
    median = float(np.median(differences, overwrite_input=True))
    return float(1.4826 * median / np.sqrt(2))


def _alike(plane: LabelArray) -> MaskArray:
    """Where a voxel of a plane and the next along x belong to the same class."""
    return np.asarray((plane[:, 1:] == plane[:, :-1]) & (plane[:, 1:] > 0))


def _sums(coarse: Coarse) -> tuple[Float64Array, Float64Array]:
    """Voxels of each class, and the sums of their x, y, z, value and squared value."""
    counts, sums = np.zeros(256), np.zeros((5, 256))
    for z, (plane, values) in enumerate(zip(coarse.labels, coarse.image, strict=True)):
        y, x = np.nonzero(plane)
        own, hu = plane[y, x], values[y, x].astype(np.float64)
        count = np.bincount(own, minlength=256)
        counts += count
        sums[2] += z * count
        for k, weights in ((0, x), (1, y), (3, hu), (4, hu**2)):
            sums[k] += np.bincount(own, weights, minlength=256)
    return counts, sums


def _surfaces(labels: LabelArray, spacing_mm: Spacing) -> tuple[Float64Array, Float64Array]:
    """Area of the faces of each class, and of those shared with another class, in mm²."""
    surface, touching = np.zeros(256), np.zeros(256)
    z_mm, y_mm, x_mm = spacing_mm
    for z, plane in enumerate(labels):
        for area, before, after in (
            (y_mm * x_mm, labels[z - 1] if z else plane, plane),
            (z_mm * x_mm, plane[:-1], plane[1:]),
            (z_mm * y_mm, plane[:, :-1], plane[:, 1:]),
        ):
            differs = before != after
            one, other = before[differs], after[differs]
            both = (one > 0) & (other > 0)
            for ids in (one, other):
                surface += area * np.bincount(ids, minlength=256)
                touching += area * np.bincount(ids[both], minlength=256)
    return surface, touching


def _pieces(mask: MaskArray) -> tuple[int, int]:
    """Number of pieces of a mask, and the voxels of its largest.

    Runs would be faster where organs are thick, but take gigabytes where labels are noise; this
    never takes more than four bytes per voxel and a few per piece.
    """
    piece, number = scipy.ndimage.label(mask, np.ones((3, 3, 3), bool))
    size = np.zeros(number + 1, np.intp)
    for first in range(0, len(piece), _PLANES):
        slab = piece[first : first + _PLANES]
        found = np.bincount(slab[slab > 0])
        size[: len(found)] += found
    return int(number), int(size.max())


def _holes(mask: MaskArray) -> float:
    """Voxels that a mask encloses."""
    return float(scipy.ndimage.binary_fill_holes(mask).sum() - mask.sum())
