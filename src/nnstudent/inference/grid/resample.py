"""Resampling as nnU-Net does it, one axis at a time.

nnU-Net resamples with skimage's ``resize``, which is spline interpolation between grids that fill
the same box. That is linear and separable: along each axis it is one small matrix, and matrix
products are the fastest operation in numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.bundle.spec import Resampling
from nnstudent.types import Float32Array
from nnstudent.volume import Shape

_SLAB_VOXELS = 1 << 23  # voxels of one slab
_NOTHING = 1e-12  # a weight that changes no sum of float32
# Lower index, upper index, weight of the upper one from 0 to below 1.
Neighbors = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32Array]


def new_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> Shape:
    """Shape after resampling from ``spacing`` to ``target``, rounded as in nnU-Net."""
    z, y, x = (
        max(1, round(have / want * n)) for have, want, n in zip(spacing, target, shape, strict=True)
    )
    return z, y, x


def separate_axis(how: Resampling, spacing: Sequence[float], target: Sequence[float]) -> int | None:
    """The coarse axis that is resampled separately from the other two, or None.

    It is the coarsest axis of the array's grid if that is anisotropic, otherwise that of the
    result's grid; two equally coarse axes count as none.

    Args:
        how: Settings of the resampling.
        spacing: Spacing of the array, in mm.
        target: Spacing of the result, in mm.
    """
    if how.force_separate_z is False:
        return None
    if how.force_separate_z:
        decisive: Sequence[float] | None = spacing
    else:
        decisive = next(
            (mm for mm in (spacing, target) if max(mm) / min(mm) > how.anisotropy), None
        )
    if decisive is None:
        return None
    coarsest = [axis for axis, mm in enumerate(decisive) if max(decisive) / mm == 1]
    return coarsest[0] if len(coarsest) == 1 else None


def axis_orders(
    how: Resampling, spacing: Sequence[float], target: Sequence[float]
) -> tuple[int, int, int]:
    """Spline order along each axis."""
    apart = separate_axis(how, spacing, target)
    z, y, x = (how.order_z if axis == apart else how.order for axis in range(3))
    return z, y, x


def as_floats(array: npt.NDArray[Any]) -> Float32Array:
    """The same values as float32, contiguous."""
    return np.ascontiguousarray(array, np.float32)


def resample(
    array: npt.NDArray[Any],
    shape: Shape,
    how: Resampling,
    *,
    spacing: Sequence[float],
    target: Sequence[float],
    prepare: Callable[[npt.NDArray[Any]], Float32Array] = as_floats,
) -> Float32Array:
    """Resample an image slab by slab, so that no second array of its size is held.

    Args:
        array: Values, three axes.
        shape: Shape of the result.
        how: Spline orders, and when the coarse axis is resampled separately.
        spacing: Spacing of ``array``, in mm, in the order of its axes.
        target: Spacing of the result, in mm.
        prepare: Applied to the values before, voxel by voxel, on slabs of any thickness.

    Returns:
        The values at the voxel centers of the new grid, which fills the same box.
    """
    if array.shape == tuple(shape):
        return prepare(array)
    orders = axis_orders(how, spacing, target)
    apart = separate_axis(how, spacing, target)
    # Slabs lie across the axis that is resampled last: the coarse one, before which slices are
    # clipped, otherwise the first.
    last = apart or 0
    order = (last, *(axis for axis in range(3) if axis != last))
    result = _by_slabs(
        array.transpose(order),
        [operator(array.shape[axis], shape[axis], orders[axis]) for axis in order],
        prepare,
        # Splines overshoot; skimage clips to the range of its input: each slice, or the volume.
        clip=("slices" if apart is not None else "whole") if how.order > 1 else None,
    )
    return np.ascontiguousarray(result.transpose(np.argsort(order)), np.float32)


def _by_slabs(
    array: npt.NDArray[Any],
    operators: Sequence[Float32Array],
    prepare: Callable[[npt.NDArray[Any]], Float32Array],
    *,
    clip: Literal["slices", "whole"] | None,
) -> Float32Array:
    # Linear interpolation to a coarser grid leaves most voxels out; those are not prepared.
    used = [np.flatnonzero(matrix.any(axis=0)) for matrix in operators]
    along, *across = (
        np.ascontiguousarray(matrix[:, columns])
        for matrix, columns in zip(operators, used, strict=True)
    )
    size = [len(columns) for columns in used]
    planes = np.empty((size[0], len(across[0]), len(across[1])), np.float32)
    lower, upper = np.float32(np.inf), np.float32(-np.inf)
    thick = max(1, _SLAB_VOXELS // (size[1] * size[2]))
    for first in range(0, size[0], thick):
        values = prepare(_taken(array, [used[0][first : first + thick], *used[1:]]))
        part = values
        for axis in sorted(
            (1, 2), key=lambda axis: len(across[axis - 1]) / size[axis]
        ):  # small results first
            part = apply_along(across[axis - 1], part, axis)
        if clip == "slices":
            part = np.clip(
                part, values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
            )
        elif clip == "whole":
            lower, upper = min(lower, values.min()), max(upper, values.max())
        planes[first : first + thick] = part
    result = apply_along(along, planes, 0)
    return np.clip(result, lower, upper, out=result) if clip == "whole" else result


def _taken(array: npt.NDArray[Any], indices: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[Any]:
    """These planes, rows and columns; without a copy along axes where they are contiguous."""
    for axis, index in enumerate(indices):
        run = len(index) == index[-1] - index[0] + 1
        array = (
            array[(slice(None),) * axis + (slice(index[0], index[-1] + 1),)]
            if run
            else array.take(index, axis=axis)
        )
    return array


def apply_along(matrix: Float32Array, array: Float32Array, axis: int) -> Float32Array:
    """Multiply a matrix (new, old) onto one axis of a three-axis array."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(
        matrix, np.eye(len(matrix), dtype=np.float32)
    ):
        return array
    # One large product: with one per plane, the matrix library would synchronize threads each time.
    if axis == 0:
        product: Float32Array = matrix @ array.reshape(len(array), -1)
        return product.reshape(len(matrix), *array.shape[1:])
    last = np.ascontiguousarray(np.moveaxis(array, axis, -1))
    flat: Float32Array = last.reshape(-1, last.shape[-1]) @ matrix.T
    return np.moveaxis(flat.reshape(*last.shape[:-1], len(matrix)), -1, axis)


@lru_cache(maxsize=64)
def operator(old: int, new: int, order: int) -> Float32Array:
    """Spline interpolation from ``old`` to ``new`` voxels, as a matrix (new, old).

    Both have the same length in mm. Column k is the interpolation of a single one at k; border
    values extend outwards.
    """
    if old == new:
        return np.eye(old, dtype=np.float32)
    if order <= 1:
        return _matrix(neighbors(old, new, order), old)
    unit = np.eye(old)
    columns = [
        scipy.ndimage.zoom(unit[k], new / old, order=order, mode="nearest", grid_mode=True)
        for k in range(old)
    ]
    spline: Float32Array = np.stack(columns, axis=1).astype(np.float32)
    # A spline's weights fall off by a factor per voxel without end. Those that add nothing are
    # dropped, because processors take a hundred times as long with subnormal numbers.
    spline[np.abs(spline) < _NOTHING] = 0
    return spline


def linear_operator(position: npt.NDArray[np.floating[Any]], old: int) -> Float32Array:
    """Linear interpolation at any positions along ``old`` voxels, as a matrix (position, old).

    Border values extend outwards.
    """
    return _matrix(_around(position, old), old)


def _matrix(places: Neighbors, old: int) -> Float32Array:
    lower, upper, share = places
    matrix = np.zeros((len(lower), old))
    rows = np.arange(len(lower))
    np.add.at(matrix, (rows, lower), 1.0 - share.astype(np.float64))
    np.add.at(matrix, (rows, upper), share.astype(np.float64))
    return matrix.astype(np.float32)


@lru_cache(maxsize=64)
def neighbors(old: int, new: int, order: int) -> Neighbors:
    """For order 0 or 1: the two voxels around each new voxel, and the weight of the upper one.

    Args:
        old: Voxels before.
        new: Voxels after, along the same length.
        order: 0 for the nearest voxel, 1 for linear.

    Returns:
        Lower index, upper index, weight of the upper from 0 to below 1; each of length ``new``.
    """
    position = (np.arange(new) + 0.5) * (old / new) - 0.5
    if order == 0:
        nearest = np.floor(np.clip(position, 0, old - 1) + 0.5).astype(np.intp)
        return nearest, nearest, np.zeros(new, np.float32)
    return _around(position, old)


def _around(position: npt.NDArray[np.floating[Any]], old: int) -> Neighbors:
    """The two voxels around each position, and the weight of the upper one."""
    position = np.clip(position, 0, old - 1)
    lower = np.floor(position).astype(np.intp)
    below_one = np.nextafter(np.float32(1), np.float32(0))  # 1 - 1e-16 rounds to 1
    share = np.minimum((position - lower).astype(np.float32), below_one)
    return lower, np.minimum(lower + 1, old - 1), share
