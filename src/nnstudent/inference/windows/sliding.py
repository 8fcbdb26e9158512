"""Where windows lie, how they are weighed, and the sum of their logits: nnU-Net's sliding window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.progress import Progress, silent
from nnstudent.types import Float32Array
from nnstudent.volume import Box, Shape


@dataclass(frozen=True, eq=False)
class Canvas:
    """What a planner knows before any window ran.

    Attributes:
        image: Values on the network's grid, (z, y, x), padded to at least the patch along each axis.
        place: Where the image lies in its padding.
        patch: Size of a window.
    """

    image: Float32Array
    place: Box
    patch: Shape


class RunWindow(Protocol):
    """Runs the network on one window, which costs nearly all of the time, and adds what it says to the sum."""

    def __call__(self, start: Shape, *, keep: Callable[[Float32Array], bool] = ...) -> Float32Array:
        """Logits (class, z, y, x) of the window whose first voxel is ``start``, valid until the next look.

        Args:
            start: First voxel of the window.
            keep: Whether logits are added to the sum; always, if not given.
        """


# A planner looks at one window after the other; what it sees may decide where it looks next.
Planner = Callable[[Canvas, RunWindow], None]


def dense(canvas: Canvas, run_window: RunWindow) -> None:
    """Look everywhere, as nnU-Net does."""
    for start in dense_starts(canvas.image.shape, canvas.patch):
        run_window(start)


def dense_starts(shape: Shape, patch: Shape, *, step: float = 0.5) -> list[Shape]:
    """Windows over the whole image, evenly spread, at most ``step`` patches apart, as nnU-Net lays them.

    Args:
        shape: Of the padded image, at least the patch along each axis.
        patch: Size of a window.
        step: Largest distance between neighbours, in patches.

    Returns:
        First voxel of each window.
    """
    z, y, x = (
        starts_along(size, window, step=step) for size, window in zip(shape, patch, strict=True)
    )
    return list(itertools.product(z, y, x))


def starts_along(size: int, window: int, *, step: float = 0.5) -> list[int]:
    """Where windows start along one axis; see :func:`dense_starts`."""
    count = math.ceil((size - window) / (window * step)) + 1
    distance = (size - window) / (count - 1) if count > 1 else 0.0
    return [round(distance * k) for k in range(count)]


def padded_shape(shape: Shape, patch: Shape) -> Shape:
    """What :func:`pad` makes of an image of this shape."""
    z, y, x = (max(size, window) for size, window in zip(shape, patch, strict=True))
    return z, y, x


@lru_cache(maxsize=8)
def gaussian(patch: Shape) -> Float32Array:
    """Weight of each voxel of a window: a Gaussian of an eighth of the patch, 10 at the centre, nowhere 0.

    Rounded to float16 as nnU-Net does, so that the same voxels get the same weight.
    """
    z, y, x = (_bell(size) for size in patch)
    weight = np.multiply.outer(np.multiply.outer(z, y), x)
    half = (weight * (10 / weight.max())).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    weights: Float32Array = half.astype(np.float32)
    return weights


def _bell(size: int) -> npt.NDArray[np.float64]:
    """What scipy's gaussian_filter makes of a one in the middle, to the last bit; importing it would take longer than a window."""
    reach = int(4.0 * (size / 8) + 0.5)
    at = np.arange(-reach, reach + 1)
    bell: npt.NDArray[np.float64] = np.exp(-0.5 / (size / 8) ** 2 * at**2)
    bell /= bell.sum()
    return bell[reach - size // 2 :][:size]


def pad(image: Float32Array, patch: Shape) -> tuple[Float32Array, Box]:
    """Centre an image that is smaller than the patch in zeros; also where it then lies."""
    shape = padded_shape(image.shape, patch)
    place = [
        slice((new - size) // 2, (new - size) // 2 + size)
        for new, size in zip(shape, image.shape, strict=True)
    ]
    where = (place[0], place[1], place[2])
    if shape == image.shape:
        return image, where
    padded = np.zeros(shape, np.float32)
    padded[where] = image
    return padded, where


def slide(
    image: Float32Array,
    network: Callable[[Float32Array], Float32Array],
    *,
    patch: Shape,
    classes: int,
    planner: Planner = dense,
    progress: Progress = silent,
) -> tuple[Float32Array, int]:
    """Run a network over an image window by window and average the logits where windows overlap.

    Args:
        image: Values on the network's grid, (z, y, x).
        network: From a window (z, y, x) to logits (class, z, y, x).
        patch: Size of a window.
        classes: How many classes the network gives.
        planner: Where to look.
        progress: Told after each window, with how many a dense pass has.

    Returns:
        Logits (class, z, y, x) on the image's grid, and how many windows ran. Where no window was, background is certain.

    Raises:
        InputError: The network gives what is not finite.
    """
    all_of_it: list[Float32Array] = []

    def take(logits: Float32Array, _: int) -> None:
        all_of_it.append(logits)

    ran = stream(
        image, network, take, patch=patch, classes=classes, planner=planner, progress=progress
    )
    return all_of_it[0], ran


def stream(
    image: Float32Array,
    network: Callable[[Float32Array], Float32Array],
    take: Callable[[Float32Array, int], None],
    *,
    patch: Shape,
    classes: int,
    planner: Planner = dense,
    progress: Progress = silent,
    planes: int | None = None,
) -> int:
    """As :func:`slide`, but logits are handed over slab by slab, as soon as no window can touch them any more.

    Args:
        image: See :func:`slide`, as for all that is not here.
        network: See there.
        take: Given logits (class, z, y, x) and the first plane that they hold. The last plane of a slab comes again as the
            first of the next, so that one can interpolate between them. They are valid until it returns, unless they are all.
        patch: See there.
        classes: See there.
        planner: Where to look; with ``planes`` it must not go back along z.
        progress: See there.
        planes: How many planes are held at once, more than a window has; None for all.

    Returns:
        How many windows ran.

    Raises:
        InputError: The network gives what is not finite, ``planes`` are too few, or the planner goes back.
    """
    padded, where = pad(image, patch)
    depth = len(padded) if planes is None else min(planes, len(padded))
    if depth < min(patch[0] + 1, len(padded)):
        raise InputError(f"{planes} planes at once; expected more than the {patch[0]} of a window")
    weight = gaussian(patch)
    total = np.zeros((classes, depth, *padded.shape[1:]), np.float32)
    weights = np.zeros((depth, *padded.shape[1:]), np.float32)
    planned = len(dense_starts(padded.shape, patch))
    ran = first = 0  # first: the plane of the image that is the first of those held

    def hand_over(stop: int) -> None:
        done, by = total[:, : stop - first], weights[: stop - first]
        unseen = by == 0
        if unseen.any():
            done[0][unseen], by[unseen] = 1, 1
        done /= by
        if not (math.isfinite(float(done.max())) and math.isfinite(float(done.min()))):
            raise InputError(
                "the network gives logits that are not finite; its weights are broken, take another checkpoint"
            )
        # Along z only what is held as a whole is padded.
        take(
            done[(slice(None), where[0] if depth == len(padded) else slice(None), *where[1:])],
            first,
        )

    def go_on(start: int) -> None:
        """Hand over all before ``start``; sums of its last plane and of what lies beyond stay."""
        nonlocal first
        held = start - 1 - first
        total_left, weights_left = total[:, held:].copy(), weights[held:].copy()
        hand_over(start)
        total[:, : depth - held], weights[: depth - held] = total_left, weights_left
        total[:, depth - held :], weights[depth - held :] = 0, 0
        first = start - 1

    def run_window(
        start: Shape, *, keep: Callable[[Float32Array], bool] = lambda _: True
    ) -> Float32Array:
        nonlocal ran
        if 0 < first >= start[0]:  # what has been handed over
            raise InputError("these windows go back along z; take dense ones, or allow more memory")
        while start[0] + patch[0] > first + depth:
            # No further than all that is held: what lies between two windows is background, handed over like the rest.
            go_on(min(start[0], first + depth))
        z, y, x = (slice(begin, begin + size) for begin, size in zip(start, patch, strict=True))
        logits = network(np.ascontiguousarray(padded[z, y, x]))
        if keep(logits):
            here = slice(z.start - first, z.stop - first)
            # One class at a time: the product of all of them would be a second array as large as the logits.
            for channel in range(classes):
                total[channel, here, y, x] += logits[channel] * weight
            weights[here, y, x] += weight
        ran += 1
        progress("windows", ran, max(ran, planned))
        return logits

    planner(Canvas(padded, where, patch), run_window)
    if ran < planned:
        progress("windows", planned, planned)
    while first + depth < len(padded):
        go_on(first + depth)
    hand_over(len(padded))
    return ran
