"""Agreement of two masks: DSC of their volumes, NSD of their surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.errors import GeometryError
from nnstudent.evaluation.surface import surface_codes, surfel_areas
from nnstudent.taxonomy import IGNORE
from nnstudent.types import Float64Array, IndexArray, LabelArray, MaskArray
from nnstudent.volume import Box, Spacing

_MOST_ROWS = 2500
_ROUNDING = 1e-9  # relative; far above the rounding of float64, far below any spacing


def dsc(prediction: MaskArray, truth: MaskArray) -> float:
    """Dice similarity coefficient: twice the common volume over the sum of the volumes.

    Args:
        prediction: Predicted mask, (z, y, x).
        truth: True mask on the same grid.

    Returns:
        From 0 to 1; 1 if both masks are empty, 0 if one is.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape.
    """
    prediction, truth = _masks(prediction, truth)
    volumes = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(prediction & truth) / volumes) if volumes else 1.0


def nsd(
    prediction: MaskArray, truth: MaskArray, *, spacing_mm: Spacing, tolerance_mm: float
) -> float:
    """Normalized surface distance (surface Dice).

    It is the share of both surfaces that lies within a tolerance of the other surface, as Nikolov
    et al. (arXiv:1809.04430) define it and the surface-distance package computes it: surfaces are
    sampled at the corners of the voxels, each sample weighted by its area. Only the box around both
    masks is processed.

    Args:
        prediction: Predicted mask, (z, y, x).
        truth: True mask on the same grid.
        spacing_mm: Distance between voxel centers along (z, y, x), in mm.
        tolerance_mm: Distance up to which surfaces count as the same, in mm.

    Returns:
        From 0 to 1; 1 if both masks are empty, 0 if one is.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape, or a spacing is not
            above 0.
    """
    prediction, truth = _masks(prediction, truth)
    if len(spacing_mm) != 3 or not all(mm > 0 for mm in spacing_mm):
        raise GeometryError(
            f"a spacing of {tuple(spacing_mm)} mm; expected three numbers above 0 along (z, y, x)"
        )
    box = _box(prediction | truth)
    if box is None:
        return 1.0
    spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    one, other = _Surface(prediction[box], spacing), _Surface(truth[box], spacing)
    if not one.corners.size or not other.corners.size:
        return 0.0
    common = one.area_near(other, tolerance_mm) + other.area_near(one, tolerance_mm)
    return common / (one.area + other.area)


def bounding_boxes(labels: LabelArray) -> dict[int, Box]:
    """The bounding box of each label except 0, found in one pass.

    Args:
        labels: A label map, (z, y, x).
    """
    around = _box(labels)
    if around is None:
        return {}
    return {
        label: (
            _shift(found[0], around[0]),
            _shift(found[1], around[1]),
            _shift(found[2], around[2]),
        )
        for label, found in enumerate(ndimage.find_objects(labels[around]), start=1)
        if found is not None
    }


def enclosing_box(one: Box | None, other: Box | None) -> Box | None:
    """The smallest box that encloses both boxes; None is an empty box."""
    if one is None or other is None:
        return one or other
    z, y, x = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return z, y, x


class _Surface:
    """The surface of a mask: the voxel corners that it passes, and the area around each."""

    def __init__(self, mask: MaskArray, spacing: Spacing) -> None:
        codes = surface_codes(mask)
        self.is_surface = (codes + np.uint8(1)) > 1  # neither 0 nor 255, which wraps to 0
        self.corners = np.flatnonzero(self.is_surface)
        self.areas = surfel_areas(spacing)[codes.ravel()[self.corners]]
        self.area = float(self.areas.sum())
        self.spacing = np.array(spacing)

    def area_near(self, other: _Surface, tolerance_mm: float) -> float:
        """Area of the part of this surface that lies at most ``tolerance_mm`` from the other."""
        near = other.is_surface.ravel()[self.corners].copy()
        if tolerance_mm > 0:
            apart = np.flatnonzero(~near)
            near[apart] = self._within(other, self.corners[apart], tolerance_mm)
        return float(self.areas[near].sum())

    def _within(self, other: _Surface, corners: IndexArray, tolerance_mm: float) -> MaskArray:
        """Whether each of these corners has a corner of the other surface within the tolerance.

        Each corner searches rows around it, the nearest first, until it finds the other surface.
        For every corner the distance to the nearest surface along its row is known beforehand, so
        that one lookup covers a whole row.
        """
        extent = float((self.spacing * self.is_surface.shape).max())
        rows = _rows(tuple(self.spacing), tolerance_mm, _ROUNDING * max(tolerance_mm, extent))
        if rows is None:
            return other._within_by_transform(corners, tolerance_mm)
        padding = np.abs(np.concatenate([rows.steps, rows.tied_in, rows.tied_out])).max(axis=0)
        along = np.pad(
            _steps_to(other.is_surface, rows.axis, int(rows.reach.max())),
            [(n, n) for n in padding],
            constant_values=255,
        )
        strides = np.array(along.strides)  # elements are single bytes
        at = np.stack(np.unravel_index(corners, self.is_surface.shape), axis=1) + padding
        at = at @ strides
        flat, near, left = along.ravel(), np.zeros(corners.size, bool), np.arange(corners.size)
        for shift, reach in zip(rows.steps @ strides, rows.reach, strict=True):
            found = flat[at + shift] <= reach
            near[left[found]] = True
            left, at = left[~found], at[~found]
        if rows.tied_in.size and left.size:
            hit_in, hit_out = (np.zeros(left.size, bool) for _ in range(2))
            for ties, hit in ((rows.tied_in, hit_in), (rows.tied_out, hit_out)):
                for shift in ties @ strides:
                    hit |= flat[at + shift] == 0
            near[left] = hit_in
            both = left[hit_in & hit_out]
            near[both] = other._within_by_transform(corners[both], tolerance_mm)
        return near

    def _within_by_transform(self, corners: IndexArray, tolerance_mm: float) -> MaskArray:
        """Whether each corner is within the tolerance of this surface, by a distance transform."""
        if not corners.size:
            return np.zeros(0, bool)
        distance: Float64Array = ndimage.distance_transform_edt(
            ~self.is_surface, sampling=self.spacing
        )
        return np.asarray(distance.ravel()[corners] <= tolerance_mm)


@dataclass(frozen=True)
class _Rows:
    """The rows of voxel corners, along one axis, that lie within a tolerance.

    Attributes:
        axis: The axis along which the rows run, which has the finest spacing.
        steps: Steps to the middle of each row, (row, 3), the nearest row first.
        reach: Steps along the row, to both sides, that are certainly within the tolerance.
        tied_in: Steps whose length equals the tolerance apart from rounding and is rounded down to
            it, (step, 3). Such lengths are common on a lattice; they are rounded as a distance
            transform does it.
        tied_out: Steps whose length is rounded to above the tolerance. If there is a surface at
            both, the distance transform decides.
    """

    axis: int
    steps: IndexArray
    reach: IndexArray
    tied_in: IndexArray
    tied_out: IndexArray


@lru_cache(maxsize=256)
def _rows(spacing: Spacing, tolerance_mm: float, slack: float) -> _Rows | None:
    """The rows within a tolerance; None if a distance transform is faster than so many rows."""
    most = [int((tolerance_mm + slack) / mm) for mm in spacing]
    axis = int(np.argmin(spacing))
    if (
        np.prod([2 * n + 1 for other, n in enumerate(most) if other != axis]) > _MOST_ROWS
        or most[axis] > 250
    ):
        return None
    steps = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    lengths = _lengths(steps, np.array(spacing))
    tied = (np.abs(lengths - tolerance_mm) <= slack) & (lengths > 0)
    rounded_in = lengths <= tolerance_mm
    within = (lengths < tolerance_mm - slack) | (lengths == 0)
    if not (tied & ~rounded_in).any():  # then tied steps are as certain as the others
        within |= tied
        tied[:] = False
    inner, column = steps[within], np.delete(steps[within], axis, axis=1)
    middles, row = np.unique(column, axis=0, return_inverse=True)
    reach = np.zeros(len(middles), np.intp)
    np.maximum.at(reach, row.ravel(), np.abs(inner[:, axis]))
    ways = np.insert(middles, axis, 0, axis=1)
    order = np.argsort(_lengths(ways, np.array(spacing)), kind="stable")
    return _Rows(
        axis, ways[order], reach[order], steps[tied & rounded_in], steps[tied & ~rounded_in]
    )


def _steps_to(surface: MaskArray, axis: int, most: int) -> npt.NDArray[np.uint8]:
    """Steps along an axis to the nearest surface; ``most`` + 1 if it is farther away."""
    reached = surface.copy()
    steps = (~reached).view(np.uint8).copy()
    later = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    earlier = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    for _ in range(most):
        before = reached.copy()
        reached[later] |= before[earlier]
        reached[earlier] |= before[later]
        steps += ~reached
    return steps


def _lengths(steps: IndexArray, spacing: Float64Array) -> Float64Array:
    """Lengths in mm, rounded as in a distance transform: squares summed in the axes' order."""
    squares = (steps * spacing) ** 2
    lengths: Float64Array = np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])
    return lengths


def _masks(prediction: MaskArray, truth: MaskArray) -> tuple[MaskArray, MaskArray]:
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise GeometryError(
            f"masks of {prediction.shape} and {truth.shape} voxels; "
            "expected two of the same (z, y, x) shape"
        )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def _box(array: npt.NDArray[Any]) -> Box | None:
    """The bounding box of the nonzero elements; None if there are none."""
    rows = np.asarray(array.any(axis=2))
    z, y = (np.flatnonzero(rows.any(axis=axis)) for axis in (1, 0))
    if not z.size:
        return None
    slab = (slice(int(z[0]), int(z[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1))
    x = np.flatnonzero(array[slab].any(axis=(0, 1)))
    return (*slab, slice(int(x[0]), int(x[-1]) + 1))


def _shift(inner: slice, outer: slice) -> slice:
    return slice(inner.start + outer.start, inner.stop + outer.start)


def without_ignored(prediction: LabelArray, truth: LabelArray) -> LabelArray:
    """A prediction that is background where nobody looked, so that these voxels do not count.

    Args:
        prediction: Label map, (z, y, x).
        truth: The truth on the same grid; nobody looked where it is
            :data:`~nnstudent.taxonomy.IGNORE`.
    """
    ignored = truth == IGNORE
    return np.where(ignored, np.uint8(0), prediction) if ignored.any() else prediction
