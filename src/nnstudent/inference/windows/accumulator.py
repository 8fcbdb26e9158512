"""The weighted mean of the logits of overlapping windows, as nnU-Net computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from nnstudent.errors import InputError
from nnstudent.inference.engines.head import Head
from nnstudent.inference.windows.file_sums import zeros_in_file
from nnstudent.machine import give_back_freed_memory
from nnstudent.types import Float32Array, Float64Array
from nnstudent.volume import Box, Shape

# Given the logits of the windows before, times a weight of each voxel, and those of a window, both
# (class, z, y, x). It is called for some planes at a time.
Compare = Callable[[Float32Array, Float32Array], None]
PIECE_BYTES = 1 << 25  # logits of some planes, where those of all planes are not in memory
_BESIDE_BYTES = 1 << 23  # the same while an engine holds what a window takes
_FIRM = 0.25  # a voxel with less weight is near the border of its window, where networks see little
_EVERY = 2  # voxels along y and x in which overlapping windows are compared


class WindowLogits:
    """The logits of one window, valid until the next one runs."""

    def __init__(self, values: Float32Array, head: Head | None = None) -> None:
        """Take logits (class, z, y, x), or features if there is a head, which makes them logits."""
        self._values, self._head = values, head

    def parts(self, planes: slice = slice(None)) -> Iterator[Float32Array]:
        """Logits (class, z, y, x) of these planes, all at once or some after another."""
        values = self._values[:, planes]
        if self._head is None:
            yield values
            return
        for piece in _pieces(values.shape[1], _plane_bytes(self._head, values), _BESIDE_BYTES):
            yield self._head(values[:, piece])

    def drop(self) -> None:
        """Let go of the values, whoever still holds this; the next window needs the room."""
        self._values = self._values[:, :0].copy()

    def whole(self) -> Float32Array:
        """Logits (class, z, y, x) of all planes."""
        return self._values if self._head is None else self._head(self._values)


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
        in_file: bool = False,
        compare: Compare | None = None,
        head: Head | None = None,
    ) -> None:
        """Begin with sums of 0.

        Args:
            shape: Shape of the padded image, (z, y, x).
            take: Given the mean logits (class, z, y, x) of a slab and the index of its first plane.
            place: Where the image lies in its padding.
            patch: Size of a window, in voxels.
            classes: Number of classes.
            planes: How many planes are held at once; None for all.
            in_file: Whether they are held in a temporary file.
            compare: Given what windows before a window found where they overlap, and its logits.
            head: The network's last layer, which makes logits of the sums; None where logits are
                summed.

        Raises:
            InputError: ``planes`` are no more than a window has.
            OutputError: There is no room for a temporary file.
        """
        self._size, self._place, self._take, self._patch = shape[0], place, take, patch
        self._depth = self._size if planes is None else min(planes, self._size)
        if self._depth < min(patch[0] + 1, self._size):
            raise InputError(
                f"{planes} planes at once; expected more than the {patch[0]} of a window"
            )
        self._whole, self._in_file, self._head = planes is None, in_file, head
        channels = classes if head is None else head.features
        sums = (channels, self._depth, *shape[1:])
        self._sums, self._forget = zeros_in_file(sums) if in_file else _zeros(sums)
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
        if self._in_file:
            give_back_freed_memory()
        while start + self._patch[0] > self._first + self._depth:
            # No further than what is held: planes between two windows are background, and are
            # handed over like all others.
            self._hand_over_before(min(start, self._first + self._depth))

    def add(self, values: Float32Array, start: Shape) -> None:
        """Add the values (channel, z, y, x) of the window whose first voxel is ``start``.

        Args:
            values: Logits, or features if there is a head.
            start: The first voxel.
        """
        z, y, x = (slice(at, at + size) for at, size in zip(start, self._patch, strict=True))
        held = slice(z.start - self._first, z.stop - self._first)
        weight = gaussian(self._patch)
        if self._compare is not None:
            held_weights = self._weights[held, y, x]
            both = _overlap(held_weights, weight)
            if both is not None:
                self._compare_where(both, self._sums[:, held, y, x], held_weights, values)
        # One channel at a time: the product of all would be a second array as large as the values.
        for channel, one in enumerate(values):
            self._sums[channel, held, y, x] += one * weight
            self._forget()
        self._weights[held, y, x] += weight

    def _compare_where(
        self, both: Box, sums: Float32Array, weights: Float32Array, values: Float32Array
    ) -> None:
        """Compare a window with those before it in the box where both have a firm opinion."""
        compare, (z, y, x) = self._compare, both
        if compare is None:
            return
        places = (z, slice(y.start, y.stop, _EVERY), slice(x.start, x.stop, _EVERY))
        before, window = sums[:, *places], values[:, *places]
        if self._head is None:
            compare(before, window)
            return
        for piece in _pieces(window.shape[1], _plane_bytes(self._head, window), _BESIDE_BYTES):
            given = weights[places][piece]
            compare(self._mean_logits(before[:, piece], given), self._head(window[:, piece]))
            self._forget()

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
        self._hand_over(start - self._first)
        left = self._depth - kept
        # One channel at a time: numpy copies what it moves onto itself.
        for held in (*self._sums, self._weights):
            held[:left] = held[kept:]
            held[left:] = 0
            self._forget()
        self._first = start - 1

    def _hand_over(self, planes: int) -> None:
        """Hand over the first planes that are held."""
        # Along z only an image that is held as a whole is padded.
        z, y, x = self._place
        if self._depth != self._size:
            z = slice(0, planes)
        if self._whole:  # nothing is added any more, so that the sums are overwritten
            sums, weights = self._sums[:, z], self._weights[z]
            self._take(self._logits(sums, weights, out=sums)[..., y, x], self._first)
            return
        channels = len(self._sums) if self._head is None else len(self._head.weights)
        plane_bytes = 4 * channels * math.prod(self._weights.shape[1:])
        for piece in _pieces(z.stop - z.start, plane_bytes, PIECE_BYTES, shared=1):
            held = slice(z.start + piece.start, z.start + piece.stop)
            logits = self._logits(self._sums[:, held], self._weights[held])
            self._forget()
            self._take(logits[..., y, x], self._first + piece.start)

    def _logits(
        self, sums: Float32Array, weights: Float32Array, *, out: Float32Array | None = None
    ) -> Float32Array:
        """Mean logits (class, z, y, x) of some planes; what no window saw is background."""
        mean = self._mean_logits(sums, weights, out=out)
        if not (math.isfinite(float(mean.max())) and math.isfinite(float(mean.min()))):
            raise InputError(
                "the network gives logits that are not finite; its weights are broken, "
                "take another checkpoint"
            )
        mean[0][weights == 0] = 1
        return mean

    def _mean_logits(
        self, sums: Float32Array, weights: Float32Array, *, out: Float32Array | None = None
    ) -> Float32Array:
        """Sums divided by weights, as logits; 0 where no window saw anything."""
        unseen = weights == 0
        mean = np.divide(sums, np.where(unseen, np.float32(1), weights), out=out)
        if self._head is not None:
            mean = self._head(mean)
            mean[:, unseen] = 0
        return mean


def _zeros(shape: Sequence[int]) -> tuple[Float32Array, Callable[[], None]]:
    """As :func:`zeros_in_file`, but in memory, where everything stays."""
    return np.zeros(shape, np.float32), lambda: None


def _pieces(planes: int, plane_bytes: int, size: int, *, shared: int = 0) -> Iterator[slice]:
    """Planes in pieces of a bounded size; the last ``shared`` planes of one begin the next."""
    most = max(shared + 1, size // max(1, plane_bytes))
    first = 0
    while True:
        yield slice(first, min(planes, first + most))
        if first + most >= planes:
            return
        first += most - shared


def _plane_bytes(head: Head, values: Float32Array) -> int:
    """Bytes of the logits of one plane of features (feature, z, y, x)."""
    return 4 * len(head.weights) * math.prod(values.shape[2:])


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
