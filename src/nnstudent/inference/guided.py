"""Windows guided by the body and by what the network finds in it: dense where there is something, sparse where there is not.

The windows are dense's own. A sparse choice of them sees every part of every body. Wherever one finds foreground, or anything
that might be, all windows that overlap the finding run too, and so on, so that there the result is dense's. What is left out are
windows that hold no body, and second looks at places where the first found nothing. Neither a position in the body nor an
orientation is taken for granted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnstudent.errors import InputError
from nnstudent.inference.body import Mask, cell_size, find_body, pool
from nnstudent.inference.resample import Floats
from nnstudent.inference.windows import Box, Look, Planner, Scene, starts_along
from nnstudent.volume import Shape, Spacing

LOW = 0.05  # odds of a class against background from which on a voxel may be foreground


def guided(*, spacing_mm: Spacing, air: float | None, low: float = LOW, rim: float | None = None) -> Planner:
    """The guided planner.

    Args:
        spacing_mm: Of the network's grid.
        air: The value on the network's scale that air lies below; None if it does not tell, then all is body.
        low: Odds of any class against background from which on a voxel may be foreground.
        rim: None: all windows that overlap a finding run, so that there the result is dense's. Else the share of a window at
            each of its sides, at most a quarter, in which a finding asks for another window that has it further inside: fewer
            windows, and a result that is not dense's, since what one window sees well is no more averaged with others.

    Raises:
        InputError: ``rim`` is not between 0 and a quarter.
    """
    if rim is not None and not 0 < rim <= 0.25:
        raise InputError(f"a rim of {rim}; expected a share of the window, more than 0 and at most 0.25")

    def planner(scene: Scene, look: Look) -> None:
        cells = Cells(scene.image.shape, scene.patch, cell_size(spacing_mm, scene.patch), rim=rim or 0.0)
        unseen = find_body(scene, air=air, spacing_mm=spacing_mm, cell=cells.cell)
        found, settled = np.zeros((2, *unseen.shape), bool)
        waiting = {start for start in cells.starts if unseen[cells.touched(start)].any()}
        while waiting:
            doubtful = found & ~settled
            choice, of = [one for one in waiting if doubtful[cells.inside(one)].any()], doubtful
            if not choice:
                choice, of = list(cells.cover(unseen)), unseen
            if not choice:
                return
            # The most promising first, whose findings make other choices needless; of equals the first, so that runs repeat.
            start = max(sorted(choice), key=lambda one: np.count_nonzero(of[cells.inside(one)]))
            waiting.discard(start)
            here = foreground(look(start), low=low)
            unseen[cells.covered(start)] = False
            settled[cells.inside(start)] = rim is not None
            found[cells.touched(start)] |= pool(here, cells.cell, offset=cells.offset(start))

    return planner


def foreground(logits: Floats, *, low: float = LOW) -> Mask:
    """Voxels where some class has at least these odds against background.

    Args:
        logits: (class, z, y, x); channel 0 is background.
        low: The odds.
    """
    highest = logits[1].copy()
    for channel in logits[2:]:
        np.maximum(highest, channel, out=highest)
    highest -= logits[0]
    mask: Mask = highest > math.log(low)
    return mask


class Cells:
    """The windows of a dense pass, on a grid of cells that are coarser than voxels, so that planning costs next to nothing.

    Attributes:
        cell: Voxels of a cell along each axis.
        starts: First voxel of each window.
    """

    def __init__(self, shape: Shape, patch: Shape, cell: Shape, *, rim: float = 0.0) -> None:
        """Lay windows with a rim over an image of a shape, at least the patch along each axis."""
        self.cell = cell
        self._axes = [
            [_Span.of(start, window, by, size, rim=rim) for start in starts_along(size, window)]
            for size, window, by in zip(shape, patch, cell, strict=True)
        ]
        self._spans = {(z.start, y.start, x.start): (z, y, x) for z, y, x in itertools.product(*self._axes)}
        self.starts: tuple[Shape, ...] = tuple(self._spans)

    def touched(self, start: Shape) -> Box:
        """Cells that a window overlaps."""
        z, y, x = self._spans[start]
        return z.touched, y.touched, x.touched

    def inside(self, start: Shape) -> Box:
        """Cells that a window overlaps without its rim; it has none at the image's border."""
        z, y, x = self._spans[start]
        return z.inside, y.inside, x.inside

    def covered(self, start: Shape) -> Box:
        """Cells that lie in a window as a whole."""
        z, y, x = self._spans[start]
        return z.covered, y.covered, x.covered

    def offset(self, start: Shape) -> Shape:
        """Voxels from the first cell that a window overlaps to the window."""
        z, y, x = (first % by for first, by in zip(start, self.cell, strict=True))
        return z, y, x

    def cover(self, mask: Mask) -> Iterator[Shape]:
        """Windows that together cover a mask of cells, few of them."""
        axis_z, axis_y, axis_x = self._axes
        for z, planes in _cover(mask, axis_z):
            for y, rows in _cover(_shadow(planes), axis_y):
                for x, _ in _cover(_shadow(rows), axis_x):
                    yield z.start, y.start, x.start


@dataclass(frozen=True)
class _Span:
    """A window along one axis: its first voxel; the cells that it overlaps, with and without rim; those wholly in it."""

    start: int
    touched: slice
    inside: slice
    covered: slice

    @classmethod
    def of(cls, start: int, window: int, cell: int, size: int, *, rim: float) -> _Span:
        stop = start + window
        low = start + int(rim * window) if start > 0 else 0
        high = stop - int(rim * window) if stop < size else size
        last = math.ceil(size / cell) if stop == size else stop // cell  # the image's last cell may be cut
        touched, inside = (slice(a // cell, math.ceil(b / cell)) for a, b in ((start, stop), (low, high)))
        return cls(start, touched, inside, slice(math.ceil(start / cell), last))


def _cover(mask: Mask, spans: Sequence[_Span]) -> Iterator[tuple[_Span, Mask]]:
    """Fewest windows along the first axis that cover a mask, each with the part of the mask that no earlier one covers."""
    busy = _shadow(mask.reshape(len(mask), -1).T)
    first = 0
    while busy[first:].any():
        first += int(busy[first:].argmax())
        span = max((one for one in spans if one.covered.start <= first), key=lambda one: one.covered.stop)
        yield span, mask[first : span.covered.stop]
        first = span.covered.stop


def _shadow(mask: Mask) -> Mask:
    shadow: Mask = np.asarray(mask.any(axis=0))
    return shadow
