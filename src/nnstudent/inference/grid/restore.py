"""From class scores on the network's grid to labels on the image's grid.

nnU-Net interpolates the logits of every class to the image's grid and takes the best class, or with
regions the last one above the background. Where all network voxels around an image voxel prefer the
same class, so does every mean of them, and nothing needs to be interpolated. That leaves surfaces
of organs, a few voxels in a hundred, and gives the same labels. An array of all classes at full
size never exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.grid.resample import apply_along, axis_orders, neighbors, operator
from nnstudent.inference.grid.torch_restore import TorchLinear
from nnstudent.inference.labels.scores import ClassScores, best_channel
from nnstudent.machine import cores
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Grid, Shape, Volume

_MIXED = 255
_AT_ONCE = 1 << 18  # image voxels interpolated at once; bounds the temporary arrays


def restore(
    scores: ClassScores,
    onto: Grid,
    *,
    slab_mm: float = 64.0,
    threads: int | None = None,
    device: str | None = None,
) -> Volume:
    """Carry class scores to the image's grid and take the best class.

    Args:
        scores: Scores on the network's grid.
        onto: The image's own grid.
        slab_mm: Thickness of one slab, in mm.
        threads: How many slabs are restored at a time; None for one per core.
        device: Torch device that restores one slab at a time, such as ``cuda``; None for numpy.
            Splines of higher order always use numpy.

    Returns:
        Labels on ``onto``, uint8, values as in ``scores.ids``.

    Raises:
        GeometryError: The scores are not of an image on ``onto``.
        MissingExtraError: A device is given but torch is not installed.
    """
    restoration = Restoration(scores.frame, onto, slab_mm=slab_mm, threads=threads, device=device)
    restoration.add(scores)
    return restoration.labels


class Restoration:
    """Labels on the image's grid, filled in from scores that arrive whole or slab by slab.

    Attributes:
        labels: The labels so far, uint8; 0 where no scores have arrived.
    """

    def __init__(
        self,
        frame: Frame,
        onto: Grid,
        *,
        slab_mm: float = 64.0,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """For the arguments and errors see :func:`restore`."""
        frame.grid.require(
            onto,
            what="the grid to restore",
            of="the image of the scores",
            advice="give the image's own grid",
        )
        self.labels = Volume(np.zeros(onto.shape, np.uint8), onto)
        self._frame = frame
        self._target = frame.view(self.labels.array)
        # On a device all classes of a slab are held at once.
        mm = slab_mm if device is None else slab_mm / 4
        self._thick = max(1, round(mm / frame.spacing_mm[0]))
        self._device = device
        self._threads = threads or cores()
        self._done = 0  # planes of the target

    def add(self, scores: ClassScores) -> None:
        """Fill in all planes that lie between planes of these scores.

        Args:
            scores: All scores, or a slab that begins with the last plane of the previous one.

        Raises:
            InputError: They are a slab, but splines of this order need all scores at once.
        """
        frame, target = self._frame, self._target
        ids = np.array(scores.ids, np.uint8)
        stop = scores.first + scores.values.shape[1]
        if target.shape == frame.shape:
            target[self._done : stop] = ids[
                best_channel(scores.values[:, self._done - scores.first :], regions=scores.regions)
            ]
            self._done = stop
            return
        orders = axis_orders(scores.resampling, scores.spacing_mm, frame.spacing_mm)
        fill: Callable[[slice], LabelArray]
        threads = self._threads
        if max(orders) <= 1 and self._device is not None and not scores.slab:
            end = target.shape[0]
            fill, threads = (
                TorchLinear(
                    scores.values, target.shape, orders, regions=scores.regions, device=self._device
                ),
                1,
            )
        elif max(orders) <= 1:
            _, upper, _ = neighbors(frame.shape[0], target.shape[0], orders[0])
            end = int(np.searchsorted(upper, stop))
            fill = _Linear(
                scores.values,
                scores.first,
                frame.shape,
                target.shape,
                orders,
                regions=scores.regions,
            )
        elif scores.slab:
            raise InputError(
                f"splines of order {max(orders)} need all scores at once; "
                "slabs are for order 0 and 1"
            )
        else:
            end = target.shape[0]
            fill = _Spline(scores.values, target.shape, orders, regions=scores.regions)
        # Scores of few planes keep all threads busy too.
        thick = max(1, min(self._thick, math.ceil((end - self._done) / threads)))
        slabs = [slice(first, min(first + thick, end)) for first in range(self._done, end, thick)]

        def work(slab: slice) -> None:
            target[slab] = ids[fill(slab)]

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, slabs))
        self._done = end


class _Linear:
    """Best channels by linear or nearest interpolation, only where neighbors disagree."""

    def __init__(
        self,
        values: Float32Array,
        first: int,
        old: Shape,
        shape: Shape,
        orders: Shape,
        *,
        regions: bool,
    ) -> None:
        """Take values whose first plane is ``first`` of the network's grid ``old``."""
        self._regions = regions
        self._values = values.reshape(len(values), -1)
        (lower, upper, share), *others = (
            neighbors(have, want, order)
            for have, want, order in zip(old, shape, orders, strict=True)
        )
        self._axes: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32Array]]
        self._axes = [(lower - first, upper - first, share), *others]
        self._strides = (old[1] * old[2], old[2], 1)
        self._agreed = _agreed(best_channel(values, regions=regions), orders)

    def __call__(self, slab: slice) -> LabelArray:
        z, y, x = (lower if axis else lower[slab] for axis, (lower, _, _) in enumerate(self._axes))
        channel: LabelArray = self._agreed.take(z, axis=0).take(y, axis=1).take(x, axis=2)
        mixed = np.flatnonzero(channel == _MIXED)
        flat = channel.reshape(-1)
        for first in range(0, len(mixed), _AT_ONCE):
            some = mixed[first : first + _AT_ONCE]
            flat[some] = self._interpolated(np.unravel_index(some, channel.shape), slab.start)
        return channel

    def _interpolated(self, where: tuple[npt.NDArray[np.intp], ...], first: int) -> LabelArray:
        corners: list[tuple[npt.NDArray[np.intp], Float32Array]]
        corners = [(np.zeros(len(where[0]), np.intp), np.ones(len(where[0]), np.float32))]
        for axis, index in enumerate(where):
            at = index + first if axis == 0 else index
            lower, upper, share = (
                self._axes[axis][0][at],
                self._axes[axis][1][at],
                self._axes[axis][2][at],
            )
            stride = self._strides[axis]
            if not self._axes[axis][2].any():  # nearest, or unchanged along this axis
                corners = [(offset + lower * stride, weight) for offset, weight in corners]
                continue
            corners = [
                (offset + place * stride, weight * part)
                for offset, weight in corners
                for place, part in ((lower, 1 - share), (upper, share))
            ]
        best = np.zeros(len(where[0]), np.uint8)
        top = np.full(len(where[0]), -math.inf, np.float32)
        for channel, values in enumerate(self._values):
            score = np.zeros(len(top), np.float32)
            for offset, weight in corners:
                score += values.take(offset) * weight
            better = score > top
            best[better] = channel
            if channel == 0 or not self._regions:
                np.maximum(top, score, out=top)
        return best


class _Spline:
    """Best channels by splines of higher order, which overshoot: every voxel, class by class."""

    def __init__(self, values: Float32Array, shape: Shape, orders: Shape, *, regions: bool) -> None:
        self._values, self._regions = values, regions
        self._matrices = [
            operator(have, want, order)
            for have, want, order in zip(values.shape[1:], shape, orders, strict=True)
        ]

    def __call__(self, slab: slice) -> LabelArray:
        along_z, along_y, along_x = self._matrices
        best: LabelArray | None = None
        for channel, values in enumerate(self._values):
            score = apply_along(
                along_x, apply_along(along_y, apply_along(along_z[slab], values, 0), 1), 2
            )
            if best is None:
                best, top = np.zeros(score.shape, np.uint8), score.copy()
                continue
            best[score > top] = channel
            if not self._regions:
                np.maximum(top, score, out=top)
        return best if best is not None else np.zeros((0, 0, 0), np.uint8)


def _agreed(channel: LabelArray, orders: Shape) -> LabelArray:
    """The channel that each voxel shares with its upper neighbors on interpolated axes, or 255."""
    low, high = channel, channel
    for axis, order in enumerate(orders):
        if order == 0:
            continue
        after = np.minimum(np.arange(channel.shape[axis]) + 1, channel.shape[axis] - 1)
        low, high = (
            np.minimum(low, low.take(after, axis=axis)),
            np.maximum(high, high.take(after, axis=axis)),
        )
    return np.where(low == high, low, np.uint8(_MIXED))
