"""A second look: a network runs again on a finer grid, and the mean of both looks decides.

A small organ fills few voxels. On a finer grid it fills more, as a larger one did in training, and
no weight changes. What one grid misses the other often has, so that the mean of the probabilities
is better than either. The second look sees only the box around what the first one found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.grid.resample import apply_along, linear_operator
from nnstudent.inference.labels.probabilities import NetworkProbabilities
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.types import Float32Array

MARGIN_MM = 20.0  # beyond what the first look found
_PLANES = 16  # of which the mean is made at once
_CERTAIN = np.float32(255)


def finer(spec: NetworkSpec) -> NetworkSpec:
    """A network as it looks for the second time, on the grid that its specification names."""
    spacing = spec.spacing_mm if spec.finer_mm is None else spec.finer_mm
    return replace(spec, spacing_mm=spacing, finer_mm=None, context_mm=MARGIN_MM)


def looks(spec: NetworkSpec) -> tuple[NetworkSpec, ...]:
    """A network as it looks for the first time, and for the second if it does."""
    return (spec,) if spec.finer_mm is None else (spec, finer(spec))


def mean_of_looks(
    scores: ClassScores, first: NetworkProbabilities, *, linear: bool
) -> Iterator[ClassScores]:
    """The mean probabilities of two looks, on the grid of the second.

    Args:
        scores: Scores of the second look, all or a slab; not changed.
        first: What the first look says of each class of an image that holds that of the second.
        linear: Whether slabs suffice to restore them. Then they come slab by slab, so that no
            second array of all scores is held; each begins with the last plane of the one before.

    Yields:
        Probabilities.
    """
    size = scores.values.shape[1]
    thick = _PLANES if linear else size
    for start in range(0, max(1, size - 1), thick):
        stop = min(size, start + thick + 1)
        slab = replace(
            scores,
            values=scores.values[:, start:stop],
            first=scores.first + start,
            slab=linear or scores.slab,
        ).probabilities()
        values = np.array(slab.values)
        matrices = _matrices(slab, first.frame)
        for channel, part in enumerate(values):
            part += _carried(first, channel, matrices) / _CERTAIN
            part *= np.float32(0.5)
        yield replace(slab, values=values)


def _matrices(slab: ClassScores, first: Frame) -> list[Float32Array]:
    """Linear interpolation from the grid of the first look to a slab of the second, by axis."""
    second, matrices = slab.frame, []
    offset = _offset(second, first)
    for axis, (have, want) in enumerate(zip(first.shape, second.shape, strict=True)):
        index = np.arange(want)
        if axis == 0:
            index = index[slab.first : slab.first + slab.values.shape[1]]
        there, here = first.box[axis], second.box[axis]
        # Voxel centers: of the second grid, of the image, of the first grid.
        place = (index + 0.5) * ((here.stop - here.start) / want) - 0.5 + here.start + offset[axis]
        place = (place - there.start + 0.5) * (have / (there.stop - there.start)) - 0.5
        matrices.append(linear_operator(place, have))
    return matrices


def _offset(second: Frame, first: Frame) -> npt.NDArray[np.float64]:
    """Where the second look's image begins in the first's, in voxels of the image, by axis."""
    whole, part = (frame.grid.reoriented() for frame in (first, second))
    start = np.linalg.inv(whole.affine) @ part.affine[:, 3]
    return np.array([start[2::-1][axis] for axis in first.transpose])


def _carried(
    first: NetworkProbabilities, channel: int, matrices: list[Float32Array]
) -> Float32Array:
    """One class of the first look on a slab of the second, from 0 to 255."""
    along_z, along_y, along_x = matrices
    used = np.flatnonzero(along_z.any(axis=0))
    near = slice(int(used[0]), int(used[-1]) + 1)
    values = first.read(channel, near).astype(np.float32)
    planes = apply_along(np.ascontiguousarray(along_z[:, near]), values, 0)
    return apply_along(along_x, apply_along(along_y, planes, 1), 2)
