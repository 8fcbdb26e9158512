"""How well two masks agree: DSC of their volumes, NSD of their surfaces."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from nnstudent.errors import GeometryError
from nnstudent.evaluation.surfels import surface_codes, surfel_areas
from nnstudent.volume import Spacing

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]
_REACH, _STEPS = 4, 96  # how far, in voxels, and how often a point looks around before the tree is asked
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
        raise GeometryError(f"a spacing of {tuple(spacing_mm)} mm; expected three numbers above 0, along (z, y, x)")
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
        label: (_shift(found[0], around[0]), _shift(found[1], around[1]), _shift(found[2], around[2]))
        for label, found in enumerate(ndimage.find_objects(labels[around]), start=1)
        if found is not None
    }


def around_both(one: Box | None, other: Box | None) -> Box | None:
    """The smallest box that holds both; None holds nothing."""
    if one is None or other is None:
        return one or other
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
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
        far = np.flatnonzero(~other.is_surface.ravel()[self.places])
        if tolerance_mm > 0 and far.size:
            far = self._step_aside(other, far, tolerance_mm)
        near = np.ones(self.places.size, bool)
        near[far] = False
        return float(self.areas[near].sum())

    def _step_aside(self, other: _Surface, points: npt.NDArray[np.intp], tolerance_mm: float) -> npt.NDArray[np.intp]:
        """Which of these points have no point of the other surface within the tolerance.

        Most points of a fair prediction have one a few voxels away, so those places are looked at first; a tree of the other
        surface is asked for the rest.
        """
        slack = _ROUNDING * max(tolerance_mm, float((self.spacing * self.is_surface.shape).max()))
        steps, complete = _nearest_steps(tuple(self.spacing), tolerance_mm, slack)
        reach = np.abs(steps).max(axis=0, initial=0)
        padded = np.pad(other.is_surface, [(n, n) for n in reach])
        at = np.ravel_multi_index(tuple((self._index(self.places[points]) + reach).T), padded.shape)
        strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
        surface = padded.ravel()
        for step in steps @ strides:
            still = ~surface[at + step]
            points, at = points[still], at[still]
            if not points.size:
                return points
        return points if complete else points[~self._within(other, self.places[points], tolerance_mm, slack)]

    def _within(self, other: _Surface, places: npt.NDArray[np.intp], tolerance_mm: float, slack: float) -> Mask:
        here, there = self._index(places), self._index(other.places)
        tree = KDTree(there * self.spacing, balanced_tree=False, compact_nodes=False)  # cheaper to build, as quick to ask
        distance, _ = tree.query(here * self.spacing, distance_upper_bound=tolerance_mm + 2 * slack)
        near: Mask = distance <= tolerance_mm
        # Distances that equal the tolerance are common on a lattice. There, rounding decides, and it is made the same
        # as in a distance transform: index differences times spacing, squared and summed in the order of the axes.
        doubtful = np.flatnonzero(np.abs(distance - tolerance_mm) <= slack)
        for point in doubtful:
            candidates = there[tree.query_ball_point(here[point] * self.spacing, tolerance_mm + slack)]
            verdicts = _lattice_distance(candidates - here[point], self.spacing) <= tolerance_mm
            if verdicts.any() != verdicts.all():  # equally near, rounded to both sides: what the transform picks, counts
                exact: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~other.is_surface, sampling=self.spacing)
                near[doubtful] = exact.ravel()[places[doubtful]] <= tolerance_mm
                break
            near[point] = verdicts.all()
        return near

    def _index(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.stack(np.unravel_index(places, self.is_surface.shape), axis=1)


@lru_cache(maxsize=256)
def _nearest_steps(spacing: Spacing, tolerance_mm: float, slack: float) -> tuple[npt.NDArray[np.intp], bool]:
    """Steps on the lattice that surely stay within the tolerance, the shortest first; whether they are all that could."""
    per_axis = [min(int((tolerance_mm + slack) / mm), _REACH) for mm in spacing]
    complete = all(int((tolerance_mm + slack) / mm) <= _REACH for mm in spacing)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in per_axis), indexing="ij"), axis=-1).reshape(-1, 3)
    distance = _lattice_distance(steps, np.array(spacing))
    sure = (distance > 0) & (distance < tolerance_mm - slack)
    complete = complete and not (np.abs(distance - tolerance_mm) <= slack).any()
    order = np.argsort(distance[sure], kind="stable")
    return steps[sure][order[:_STEPS]], complete and int(sure.sum()) <= _STEPS


def _lattice_distance(steps: npt.NDArray[np.intp], spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    squares = (steps * spacing) ** 2
    distances: npt.NDArray[np.float64] = np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])
    return distances


def _masks(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise GeometryError(f"masks of {prediction.shape} and {truth.shape} voxels; expected two of the same (z, y, x) shape")
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
