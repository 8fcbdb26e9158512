"""The weighted mean of the logits of overlapping windows, as nnU-Net computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from nnstudent.errors import InputError
from nnstudent.types import Float32Array, Float64Array
from nnstudent.volume import Box, Shape

# Given the summed logits of the windows before and those of a window, both (class, z, y, x).
Compare = Callable[[Float32Array, Float32Array], None]
_FIRM = 0.25  # a voxel with less weight is near the border of its window, where networks see little


class ScoreAccumulator:
    """Sums windows over as many planes as are held, and hands each slab over once it is complete.

    Windows arrive in order along z. What lies before the present window can receive nothing more.
    """

    def __init__(
        self,
        shape: Shape,
        take: Callable[[Float32Array, int], None],
        *,
        place: Box,
        patch: Shape,
        classes: int,
        planes: int | None,
        compare: Compare | None = None,
    ) -> None:
        """Begin with sums of 0.

        Args:
            shape: Shape of the padded image, (z, y, x).
            take: Given the mean logits (class, z, y, x) of a slab and the index of its first plane.
            place: Where the image lies in its padding.
            patch: Size of a window, in voxels.
            classes: Number of classes.
            planes: How many planes are held at once; None for all.
            compare: Given what windows before a window found where they overlap, and its logits.

        Raises:
            InputError: ``planes`` are no more than a window has.
        """
        self._size, self._place, self._take, self._patch = shape[0], place, take, patch
        self._depth = self._size if planes is None else min(planes, self._size)
        if self._depth < min(patch[0] + 1, self._size):
            raise InputError(
                f"{planes} planes at once; expected more than the {patch[0]} of a window"
            )
        self._sums = np.zeros((classes, self._depth, *shape[1:]), np.float32)
        self._weights = np.zeros((self._depth, *shape[1:]), np.float32)
        self._compare = compare
        self._first = 0  # plane of the image that is the first of those held

    def advance_to(self, start: int) -> None:
        """Hold the planes of a window whose first plane is ``start``.

        Raises:
            InputError: They have been handed over already, or the logits are not finite.
        """
        if 0 < self._first >= start:
            raise InputError(
                "these windows go back along z; use dense windows, or allow more memory"
            )
        while start + self._patch[0] > self._first + self._depth:
            # No further than what is held: planes between two windows are background, and are
            # handed over like all others.
            self._hand_over_before(min(start, self._first + self._depth))

    def add(self, logits: Float32Array, start: Shape) -> None:
        """Add the logits (class, z, y, x) of the window whose first voxel is ``start``."""
        z, y, x = (slice(at, at + size) for at, size in zip(start, self._patch, strict=True))
        held = slice(z.start - self._first, z.stop - self._first)
        weight = gaussian(self._patch)
        if self._compare is not None:
            both = _overlap(self._weights[held, y, x], weight)
            if both is not None:
                self._compare(self._sums[:, held, y, x][:, *both], logits[:, *both])
        # One class at a time: the product of all would be a second array as large as the logits.
        for channel, values in enumerate(logits):
            self._sums[channel, held, y, x] += values * weight
        self._weights[held, y, x] += weight

    def finish(self) -> None:
        """Hand over all that is left.

        Raises:
            InputError: The logits are not finite.
        """
        while self._first + self._depth < self._size:
            self._hand_over_before(self._first + self._depth)
        self._hand_over(self._size - self._first)

    def _hand_over_before(self, start: int) -> None:
        """Hand over the planes before ``start``; the last of them and those beyond stay held."""
        kept = start - 1 - self._first
        sums, weights = self._sums[:, kept:].copy(), self._weights[kept:].copy()
        self._hand_over(start - self._first)
        left = self._depth - kept
        self._sums[:, :left], self._weights[:left] = sums, weights
        self._sums[:, left:], self._weights[left:] = 0, 0
        self._first = start - 1

    def _hand_over(self, planes: int) -> None:
        """Hand over the first planes that are held; their sums are overwritten."""
        mean, weights = self._sums[:, :planes], self._weights[:planes]
        unseen = weights == 0
        if unseen.any():
            mean[0][unseen], weights[unseen] = 1, 1
        mean /= weights
        if not (math.isfinite(float(mean.max())) and math.isfinite(float(mean.min()))):
            raise InputError(
                "the network gives logits that are not finite; its weights are broken, "
                "take another checkpoint"
            )
        # Along z only an image that is held as a whole is padded.
        z = self._place[0] if self._depth == self._size else slice(None)
        self._take(mean[(slice(None), z, *self._place[1:])], self._first)


def _overlap(before: Float32Array, weight: Float32Array) -> Box | None:
    """The box of a window in which both it and the windows before it have a firm opinion."""
    firm = (before > _FIRM) & (weight > _FIRM)
    box = []
    for axis in range(3):
        seen = np.flatnonzero(firm.any(axis=tuple(k for k in range(3) if k != axis)))
        if not len(seen):
            return None
        box.append(slice(int(seen[0]), int(seen[-1]) + 1))
    return box[0], box[1], box[2]


@lru_cache(maxsize=8)
def gaussian(patch: Shape) -> Float32Array:
    """Weight of each voxel of a window: a Gaussian with a sigma of an eighth of the patch.

    It is 10 at the center and nowhere 0, and rounded to float16 as in nnU-Net, so that the same
    voxels get the same weight.
    """
    z, y, x = (_bell(size) for size in patch)
    weight = np.multiply.outer(np.multiply.outer(z, y), x)
    half = (weight * (10 / weight.max())).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    weights: Float32Array = half.astype(np.float32)
    return weights


def _bell(size: int) -> Float64Array:
    """The result of scipy's gaussian_filter for a single one in the middle, to the last bit.

    Importing scipy.ndimage would take longer than a window.
    """
    reach = int(4.0 * (size / 8) + 0.5)
    at = np.arange(-reach, reach + 1)
    bell: Float64Array = np.exp(-0.5 / (size / 8) ** 2 * at**2)
    bell /= bell.sum()
    return bell[reach - size // 2 :][:size]
