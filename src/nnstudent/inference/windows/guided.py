"""Windows over the body only, closer together where the network finds something.

Layer by layer along z, from one end of the body to the other, overlapping windows lie evenly over
the body in that layer. What the network finds decides where the next layer lies: if anything that
may be foreground reaches the far side of a layer, the next one begins half a window on, so that it
is seen again with its surroundings. Every part of every body lies in a window, whatever its
position, posture or orientation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nnstudent.inference.windows.body import cell_size, find_body
from nnstudent.inference.windows.sliding import Canvas, Planner, RunWindow, starts_along
from nnstudent.types import Float32Array, MaskArray
from nnstudent.volume import Shape, Spacing

LOW = 0.05  # a voxel may be foreground if a class has these odds against background
# Distance of layers, in patches: where the far side cuts something, and elsewhere.
NEAR, FAR = 0.5, 0.8
BESIDE = 0.65  # distance within a layer: nothing lies in the outer sixth of windows only
_RIM = 0.25  # the far side of a window, which the next one, FAR on, sees near its edge only


def guided(*, spacing_mm: Spacing, air: float | None, low: float = LOW) -> Planner:
    """The guided planner; its windows never go back along z.

    Args:
        spacing_mm: Spacing of the network's grid.
        air: The value on the network's scale below which voxels are air; None if everything is
            body.
        low: A voxel may be foreground if a class has these odds against background.
    """

    def planner(canvas: Canvas, run_window: RunWindow) -> None:
        cell = cell_size(spacing_mm, canvas.patch)
        body = find_body(canvas, air=air, spacing_mm=spacing_mm, cell=cell)
        size, patch = canvas.image.shape, canvas.patch
        first, last = _extent(_over(body, 1, 2), cell[0], size[0])
        z = _clip(first, last, patch[0], size[0])
        rim = slice(-max(1, int(_RIM * patch[0])), None)
        while first < last:
            cut = False
            for y, x in _layer(_over(body[_cells(z, patch[0], cell[0])], 0), cell, size, patch):
                window = run_window((z, y, x))
                cut = cut or any(foreground(part, low=low).any() for part in window.parts(rim))
            left = last - patch[0] - z
            if left <= 0:
                return
            step = patch[0] * (NEAR if cut else FAR)
            z += math.ceil(left / math.ceil(left / step))  # the rest, evenly spaced

    return planner


def foreground(logits: Float32Array, *, low: float = LOW) -> MaskArray:
    """The voxels where any class has at least these odds against background.

    Args:
        logits: (class, z, y, x); channel 0 is background.
        low: The odds.
    """
    mask: MaskArray = logits[1:].max(axis=0) - logits[0] > math.log(low)
    return mask


def _layer(body: MaskArray, cell: Shape, size: Shape, patch: Shape) -> Iterator[tuple[int, int]]:
    """Windows (y, x) over the body cells (y, x) of a layer; windows between bodies are left out."""
    for y in _starts(_over(body, 1), cell[1], patch[1], size[1]):
        row = _over(body[_cells(y, patch[1], cell[1])], 0)
        for x in _starts(row, cell[2], patch[2], size[2]):
            if row[_cells(x, patch[2], cell[2])].any():
                yield y, x


def _starts(busy: MaskArray, cell: int, window: int, size: int) -> list[int]:
    first, last = _extent(busy, cell, size)
    if last - first <= window:
        return [_clip(first, last, window, size)] if first < last else []
    return [first + start for start in starts_along(last - first, window, step=BESIDE)]


def _over(mask: MaskArray, *axes: int) -> MaskArray:
    anywhere: MaskArray = np.asarray(mask.any(axis=axes))
    return anywhere


def _extent(busy: MaskArray, cell: int, size: int) -> tuple[int, int]:
    """First voxel of the cells set along an axis, and one after the last; (0, 0) if none."""
    where = np.flatnonzero(busy)
    return (int(where[0]) * cell, min(size, (int(where[-1]) + 1) * cell)) if len(where) else (0, 0)


def _clip(first: int, last: int, window: int, size: int) -> int:
    """Start of a window within the image: the first voxel, or centered on all if it is larger."""
    return max(0, min(first - max(0, window - (last - first)) // 2, size - window))


def _cells(start: int, window: int, cell: int) -> slice:
    return slice(start // cell, math.ceil((start + window) / cell))
