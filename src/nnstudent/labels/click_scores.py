"""What a click changes where the network's probabilities of the organ are known.

A click says what one voxel is. How far that is believed of its neighbors falls off with the way to
them, which is longer through other densities; a voxel changes where it is believed more than the
network's own log odds say otherwise. So the border moves most where the network was undecided.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnstudent.errors import require
from nnstudent.types import Float64Array, LabelArray, MaskArray
from nnstudent.volume import Shape, Spacing

UNDECIDED = 64  # of 255: from here on a voxel is taken from an organ that was not clicked at
# Chosen on 137 organs of phantoms with seeds 7001 to 7020, 7101 to 7108 and 7201 to 7203.
_ODDS = 2.0  # log odds of the clicked voxel after the click
_LENGTH_MM = 5.0  # of a way at which the belief is 0.6 of that
_LEAST = 0.25  # log odds that it takes to change what the network says already
_CONTRAST_HU = 40.0  # such a difference makes a way twice as long
_LONGEST = 4.0  # times that; more says no more
_WINDOW_HU = (-200.0, 300.0)
_SMALLEST = 1 / 255  # a probability of 0 or 1 is only rounded to it
_SEEN = 26  # of 255: a network that gives no voxel more has not seen the organ
_MOST_VOXELS = 150_000  # on which ways are measured; a finer image is coarsened for it


def knows(probability: LabelArray, own: MaskArray, distance: Float64Array, reach: float) -> bool:
    """Whether probabilities say anything around a click: the organ is seen there, or labeled.

    Args:
        probability: Of the organ, 255 for certain, (z, y, x).
        own: Where the organ is labeled.
        distance: From the click, in mm.
        reach: How far labels may change, in mm.
    """
    near = distance <= reach
    return bool(own[near].any() or probability[near].max() >= _SEEN)


def changed_by_scores(
    values: Float64Array,
    probability: LabelArray,
    *,
    add: bool,
    free: MaskArray,
    at: Shape,
    spacing_mm: Spacing,
) -> MaskArray:
    """The voxels that a click changes.

    Args:
        values: The image in HU, (z, y, x).
        probability: Of the organ, 255 for certain, (z, y, x).
        add: Whether the clicked voxel belongs to the organ.
        free: Which voxels may change; connected ones do.
        at: The clicked voxel.
        spacing_mm: Of the voxels.

    Returns:
        The clicked voxel, and what is connected to it and changes with it.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    share = np.asarray(probability, np.float64) / 255
    odds = np.log((share + _SMALLEST) / (1 - share + _SMALLEST))
    against = -odds if add else odds
    belief = _belief(values, free, at, spacing_mm) * (_ODDS + max(0.0, float(against[at])))
    changed = free & (belief > np.maximum(against, _LEAST))
    changed[at] = True
    pieces, _ = ndimage.label(changed)
    return np.asarray(pieces == pieces[at])


def _belief(values: Float64Array, free: MaskArray, at: Shape, spacing_mm: Spacing) -> Float64Array:
    """How far the click is believed of each voxel: 1 at its place, 0 where no way leads."""
    graph = require("skimage.graph", extra="web", why="correcting by a click")
    step = coarsening(values.shape, spacing_mm, most=_MOST_VOXELS)
    # The clicked voxel is one of those that are kept.
    cut = tuple(slice(place % by, None, by) for place, by in zip(at, step, strict=True))
    start = tuple(place // by for place, by in zip(at, step, strict=True))
    coarse = np.clip(values[cut], *_WINDOW_HU)
    unlike = np.abs(coarse - coarse[start]) / _CONTRAST_HU
    cost = np.where(free[cut], 1 + np.minimum(unlike, _LONGEST), -1)
    cost[start] = 1
    spacing = tuple(mm * by for mm, by in zip(spacing_mm, step, strict=True))
    ways, _ = graph.MCP_Geometric(cost, sampling=spacing).find_costs([start])
    belief = np.exp(-0.5 * np.square(np.asarray(ways, np.float64) / _LENGTH_MM))
    # Each voxel takes that of the nearest one that was kept.
    nearest = [
        np.clip((np.arange(size) - place % by + by // 2) // by, 0, length - 1)
        for size, place, by, length in zip(values.shape, at, step, belief.shape, strict=True)
    ]
    return np.asarray(belief[np.ix_(*nearest)], np.float64)


def coarsening(shape: Shape, spacing_mm: Spacing, *, most: int) -> list[int]:
    """Every how many voxels one is kept along each axis, so that at most ``most`` are.

    Args:
        shape: Voxels.
        spacing_mm: Their distance; the finest axis is coarsened first.
        most: Voxels in all.
    """
    step = [1, 1, 1]
    while np.prod([-(-n // by) for n, by in zip(shape, step, strict=True)]) > most:
        finest = int(np.argmin([mm * by for mm, by in zip(spacing_mm, step, strict=True)]))
        step[finest] += 1
    return step
