"""How well two masks agree: DSC of their volumes, NSD of their surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.errors import GeometryError
from nnstudent.evaluation.surface import surface_codes, surfel_areas
from nnstudent.volume import Box, Spacing

Mask = npt.NDArray[np.bool_]
_MOST_ROWS = 2500
_ROUNDING = 1e-9  # relative; far above what float64 loses, far below any spacing


def dsc(prediction: Mask, truth: Mask) -> float:
    """Dice similarity coefficient: twice the common volume over the sum of the volumes.

    Args:
        prediction: One mask, (z, y, x).
        truth: The other, on the same grid.

    Returns:
        From 0 to 1; 1 if both are empty, 0 if one is.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape.
    """
    prediction, truth = _masks(prediction, truth)
    volumes = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(prediction & truth) / volumes) if volumes else 1.0


def nsd(prediction: Mask, truth: Mask, *, spacing_mm: Spacing, tolerance_mm: float) -> float:
    """Normalized surface distance (surface Dice): the part of both surfaces that lies within a tolerance of the other.

    As Nikolov et al. (arXiv:1809.04430) define it and the surface-distance package computes it: surfaces are sampled at the corners
    of the voxels, each sample weighted by its area. Only the box around both masks is worked on.

    Args:
        prediction: One mask, (z, y, x).
        truth: The other, on the same grid.
        spacing_mm: Distance between voxel centres along (z, y, x), in mm.
        tolerance_mm: Distance up to which surfaces count as the same, in mm.

    Returns:
        From 0 to 1; 1 if both are empty, 0 if one is.

    Raises:
        GeometryError: The masks are not three-dimensional or differ in shape, or a spacing is not above 0.
    """
    prediction, truth = _masks(prediction, truth)
    if len(spacing_mm) != 3 or not all(mm > 0 for mm in spacing_mm):
        raise GeometryError(
            f"a spacing of {tuple(spacing_mm)} mm; expected three numbers above 0, along (z, y, x)"
        )
    box = _box(prediction | truth)
    if box is None:
        return 1.0
    spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    one, other = _Surface(prediction[box], spacing), _Surface(truth[box], spacing)
    if not one.places.size or not other.places.size:
        return 0.0
    common = one.area_near(other, tolerance_mm) + other.area_near(one, tolerance_mm)
    return common / (one.area + other.area)


def boxes(labels: npt.NDArray[np.uint8]) -> dict[int, Box]:
    """The box around each label but 0, found in one pass.

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


def around_both(one: Box | None, other: Box | None) -> Box | None:
    """The smallest box that holds both; None holds nothing."""
    if one is None or other is None:
        return one or other
    z, y, x = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return z, y, x


class _Surface:
    """The surface of a mask, as the voxel corners that it passes and the area around each."""

    def __init__(self, mask: Mask, spacing: Spacing) -> None:
        codes = surface_codes(mask)
        self.is_surface = (codes + np.uint8(1)) > 1  # neither 0 nor 255, which wraps to 0
        self.places = np.flatnonzero(self.is_surface)
        self.areas = surfel_areas(spacing)[codes.ravel()[self.places]]
        self.area = float(self.areas.sum())
        self.spacing = np.array(spacing)

    def area_near(self, other: _Surface, tolerance_mm: float) -> float:
        """Area of this surface that lies at most ``tolerance_mm`` from the other."""
        near = other.is_surface.ravel()[self.places].copy()
        if tolerance_mm > 0:
            apart = np.flatnonzero(~near)
            near[apart] = self._within(other, self.places[apart], tolerance_mm)
        return float(self.areas[near].sum())

    def _within(self, other: _Surface, places: npt.NDArray[np.intp], tolerance_mm: float) -> Mask:
        """Which of these places have a place of the other surface within the tolerance.

        Places look around along rows, the nearest first, until they have found one. Every row holds, for each of its places, how far
        the next surface is in its own direction, so that a look takes in the whole row.
        """
        extent = float((self.spacing * self.is_surface.shape).max())
        rows = _rows(tuple(self.spacing), tolerance_mm, _ROUNDING * max(tolerance_mm, extent))
        if rows is None:
            return other._transformed(places, tolerance_mm)
        padding = np.abs(np.concatenate([rows.steps, rows.tied_in, rows.tied_out])).max(axis=0)
        along = np.pad(
            _steps_to(other.is_surface, rows.axis, int(rows.reach.max())),
            [(n, n) for n in padding],
            constant_values=255,
        )
        strides = np.array(along.strides)  # of single bytes, so in elements
        at = (np.stack(np.unravel_index(places, self.is_surface.shape), axis=1) + padding) @ strides
        flat, near, left = along.ravel(), np.zeros(places.size, bool), np.arange(places.size)
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
            near[both] = other._transformed(places[both], tolerance_mm)
        return near

    def _transformed(self, places: npt.NDArray[np.intp], tolerance_mm: float) -> Mask:
        """Which places a distance transform of this surface puts within the tolerance."""
        if not places.size:
            return np.zeros(0, bool)
        distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(
            ~self.is_surface, sampling=self.spacing
        )
        return np.asarray(distance.ravel()[places] <= tolerance_mm)


@dataclass(frozen=True)
class _Rows:
    """Where to look for a surface within a tolerance: rows of voxel corners along one axis.

    Attributes:
        axis: The axis that the rows run along, the one of the finest spacing.
        steps: The way to the middle of each row, (row, 3), the nearest first.
        reach: How far along the row, to both sides, one is surely within the tolerance, in steps.
        tied_in: Steps whose length equals the tolerance but for rounding, and is rounded to within, (step, 3). Such lengths are
            common on a lattice, and are rounded as a distance transform does it.
        tied_out: Those that are rounded to beyond. A surface at both counts as what the transform picks of the two.
    """

    axis: int
    steps: npt.NDArray[np.intp]
    reach: npt.NDArray[np.intp]
    tied_in: npt.NDArray[np.intp]
    tied_out: npt.NDArray[np.intp]


@lru_cache(maxsize=256)
def _rows(spacing: Spacing, tolerance_mm: float, slack: float) -> _Rows | None:
    """The rows within a tolerance; None where they are so many that a distance transform is quicker."""
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
    if not (tied & ~rounded_in).any():  # then what is tied is as sure as the rest
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


def _steps_to(surface: Mask, axis: int, most: int) -> npt.NDArray[np.uint8]:
    """How many steps along an axis the nearest surface is away; ``most`` + 1 where it is farther."""
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


def _lengths(
    steps: npt.NDArray[np.intp], spacing: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Lengths in mm, rounded as in a distance transform: times spacing, squared, summed in the order of the axes."""
    squares = (steps * spacing) ** 2
    lengths: npt.NDArray[np.float64] = np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])
    return lengths


def _masks(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise GeometryError(
            f"masks of {prediction.shape} and {truth.shape} voxels; expected two of the same (z, y, x) shape"
        )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def _box(array: npt.NDArray[Any]) -> Box | None:
    """The box around what is not 0; None if all is, or the array is empty."""
    rows = np.asarray(array.any(axis=2))
    z, y = (np.flatnonzero(rows.any(axis=axis)) for axis in (1, 0))
    if not z.size:
        return None
    slab = (slice(int(z[0]), int(z[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1))
    x = np.flatnonzero(array[slab].any(axis=(0, 1)))
    return (*slab, slice(int(x[0]), int(x[-1]) + 1))


def _shift(inner: slice, outer: slice) -> slice:
    return slice(inner.start + outer.start, inner.stop + outer.start)
