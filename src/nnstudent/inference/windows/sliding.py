"""nnU-Net's sliding window: where windows lie, and running a network over them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nnstudent.inference.engines.head import Head
from nnstudent.inference.windows.accumulator import Compare, ScoreAccumulator, WindowLogits
from nnstudent.progress import Progress, silent
from nnstudent.types import Float32Array
from nnstudent.volume import Box, Shape


@dataclass(frozen=True, eq=False)
class Canvas:
    """The image that a planner places windows on.

    Attributes:
        image: Values on the network's grid, (z, y, x), padded to at least the patch on each axis.
        place: Where the image lies in its padding.
        patch: Size of a window, in voxels.
    """

    image: Float32Array
    place: Box
    patch: Shape


class RunWindow(Protocol):
    """Runs the network on one window, which takes nearly all of the time, and sums its logits."""

    def __call__(self, start: Shape, *, keep: Callable[[WindowLogits], bool] = ...) -> WindowLogits:
        """Logits of one window, valid until the next call.

        Args:
            start: First voxel of the window.
            keep: Decides from the logits whether they are added to the sum; by default always.
        """


# A planner runs one window after another; their logits may decide where the next one lies.
Planner = Callable[[Canvas, RunWindow], None]


def dense(canvas: Canvas, run_window: RunWindow) -> None:
    """Run windows everywhere, as nnU-Net does."""
    for start in dense_starts(canvas.image.shape, canvas.patch):
        run_window(start)


def dense_starts(shape: Shape, patch: Shape, *, step: float = 0.5) -> list[Shape]:
    """Windows over the whole image, evenly spaced as in nnU-Net.

    Args:
        shape: Shape of the padded image, at least the patch on each axis.
        patch: Size of a window, in voxels.
        step: Largest distance between neighbors, in patches.

    Returns:
        First voxel of each window.
    """
    z, y, x = (
        starts_along(size, window, step=step) for size, window in zip(shape, patch, strict=True)
    )
    return list(itertools.product(z, y, x))


def starts_along(size: int, window: int, *, step: float = 0.5) -> list[int]:
    """First voxels of the windows along one axis; see :func:`dense_starts`."""
    count = math.ceil((size - window) / (window * step)) + 1
    distance = (size - window) / (count - 1) if count > 1 else 0.0
    return [round(distance * k) for k in range(count)]


def padded_shape(shape: Shape, patch: Shape) -> Shape:
    """Shape of an image after :func:`pad`."""
    z, y, x = (max(size, window) for size, window in zip(shape, patch, strict=True))
    return z, y, x


def pad(image: Float32Array, patch: Shape) -> tuple[Float32Array, Box]:
    """Center an image smaller than the patch in zeros; returns it and where it then lies."""
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
    """Run a network over an image window by window and average overlapping logits.

    Args:
        image: Values on the network's grid, (z, y, x).
        network: Maps a window (z, y, x) to logits (class, z, y, x).
        patch: Size of a window, in voxels.
        classes: Number of classes of the network.
        planner: Where windows lie.
        progress: Called after each window, with the number of windows of a dense pass.

    Returns:
        Logits (class, z, y, x) on the image's grid, and how many windows ran. Voxels that no window
        covers are certain background.

    Raises:
        InputError: The network's output is not finite.
    """
    slabs: list[Float32Array] = []

    def take(logits: Float32Array, _: int) -> None:
        slabs.append(logits)

    ran = stream(
        image, network, take, patch=patch, classes=classes, planner=planner, progress=progress
    )
    return slabs[0], ran


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
    in_file: bool = False,
    compare: Compare | None = None,
    head: Head | None = None,
) -> int:
    """As :func:`slide`, but hand logits over slab by slab, once no further window can touch them.

    Args:
        image: See :func:`slide`.
        network: See :func:`slide`.
        take: Given logits (class, z, y, x) and the index of their first plane. The last plane of a
            slab comes again as the first of the next, so that values between them can be
            interpolated. Unless they are complete, the logits are valid only until it returns.
        patch: See :func:`slide`.
        classes: See :func:`slide`.
        planner: Where windows lie; with ``planes`` it must not go back along z.
        progress: See :func:`slide`.
        planes: How many planes are held at once, more than a window has; None for all.
        in_file: Whether they are held in a temporary file.
        compare: Given the logits of a window and of those before it where they overlap.
        head: The last layer of the network, if ``network`` ends before it, and maps a window to
            features (feature, z, y, x).

    Returns:
        How many windows ran.

    Raises:
        InputError: The network's output is not finite, ``planes`` are too few, or the planner goes
            back along z.
        OutputError: There is no room for a temporary file.
    """
    padded, place = pad(image, patch)
    scores = ScoreAccumulator(
        padded.shape,
        take,
        place=place,
        patch=patch,
        classes=classes,
        planes=planes,
        in_file=in_file,
        compare=compare,
        head=head,
    )
    planned = len(dense_starts(padded.shape, patch))
    ran = 0
    last: WindowLogits | None = None

    def run_window(
        start: Shape, *, keep: Callable[[WindowLogits], bool] = lambda _: True
    ) -> WindowLogits:
        nonlocal ran, last
        if last is not None:
            last.drop()
        scores.advance_to(start[0])
        z, y, x = (slice(first, first + size) for first, size in zip(start, patch, strict=True))
        values = network(np.ascontiguousarray(padded[z, y, x]))
        last = logits = WindowLogits(values, head)
        if keep(logits):
            scores.add(values, start)
        ran += 1
        progress("windows", ran, max(ran, planned))
        return logits

    planner(Canvas(padded, place, patch), run_window)
    if last is not None:
        last.drop()
    if ran < planned:
        progress("windows", planned, planned)
    scores.finish()
    return ran
