"""Correcting an organ by one click: what belongs to it around the click is segmented again.

Where the network's probabilities are known, they say how far: see
:mod:`nnstudent.labels.click_scores`.
Elsewhere a random walker (Grady, IEEE TPAMI 28:1768, 2006) starts from the click and from the rest
of the box; it crosses edges of the image seldom. No network runs, so it takes well under a second.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.errors import InputError, require
from nnstudent.labels.click_scores import UNDECIDED, changed_by_scores, coarsening, knows
from nnstudent.types import Float64Array, LabelArray, MaskArray
from nnstudent.volume import Box, Shape, Volume

REACH_MM = 15.0  # with 25 mm, three clicks made small organs of phantoms worse
_BALL_MM = 4.0  # around the click, by which it is seen what the organ looks like
_SMOOTH_MM = 1.5
_BRIDGE_MM = 2.0  # what is thinner than twice this leads into a neighbor
_LEAST_TOLERANCE_HU = 30.0
_SPREADS = 2.5
_BETA = 130.0  # the walker's own default: how seldom it crosses an edge
_FAR = 0.6  # of the way to the end of an organ that is its only piece: what is beyond stays
_MOST_VOXELS = 60_000  # unknown at once; a finer image is coarsened for the walker
_BACK, _OWN = 1, 2
UNSEEN = "the network saw nothing of it around the click; the image alone decided"


@dataclass(frozen=True)
class Click:
    """A place that a person clicked at.

    Attributes:
        voxel: The voxel, (z, y, x).
        add: Whether it belongs to the organ; otherwise it does not.
    """

    voxel: Shape
    add: bool = True


def correct_by_click(
    image: Volume,
    labels: Volume,
    click: Click,
    *,
    id: int,
    reach_mm: float = REACH_MM,
    elsewhere: bool = False,
    probability: Volume | None = None,
) -> Volume:
    """Segment one organ again around a click.

    Where the network's probability of the organ is given, the organ gains or loses what is
    connected to the click, is like it, and was least decided. It takes from no organ but the one
    that was clicked at, and from others where the network was undecided.

    Without it, a click that adds gives the organ what lies around it and looks like it, up to the
    next edge of the image, and takes from no organ but the one that was clicked at. A click that
    removes takes away the part of the organ around it; a piece that lies wholly within reach goes
    as a whole, unless it is all that there is of the organ. Nothing changes beyond ``reach_mm``.

    Args:
        image: The image, in HU for CT.
        labels: Its label map, on the same grid; stays as it is.
        click: Where, and whether it belongs to the organ.
        id: The organ's id.
        reach_mm: How far from the click labels may change.
        elsewhere: Whether the organ also lies outside of what is given.
        probability: The network's probability of the organ, 255 for certain, on the same grid.

    Returns:
        The corrected labels; a warning says if the network had not seen the organ there.

    Raises:
        InputError: The click is outside the image, the id is none, the reach is not above 0, or a
            click that removes is not on the organ.
        GeometryError: ``labels`` or ``probability`` is on another grid.
        MissingExtraError: scikit-image is not installed.
    """
    _check(image, labels, click, id=id, reach_mm=reach_mm)
    box, distance = _around(image, click, reach_mm=reach_mm)
    values = np.asarray(image.array[box], np.float64)
    here = labels.array[box]
    own = here == id
    free = own | (here == 0) | (here == labels.array[click.voxel])
    only = not elsewhere and int(np.count_nonzero(labels.array == id)) == int(own.sum())
    scene = _Scene(values, own, free, only, distance, image.spacing_mm, reach_mm)
    warned: tuple[str, ...] = ()
    if probability is not None:
        advice = "give that of the same image"
        image.grid.require(probability.grid, what="the probability", advice=advice)
        share = probability.array[box]
        if knows(share, own, distance, reach_mm):
            changed = scene.changed(share, add=click.add)
        else:
            probability, warned = None, (UNSEEN,)
    if probability is None:
        changed = scene.added() if click.add else scene.removed()
    array = labels.array.copy()
    part = array[box]
    if click.add:
        part[changed] = id
    else:
        part[changed & own] = 0
    return Volume(array, labels.grid, warned)


def _check(image: Volume, labels: Volume, click: Click, *, id: int, reach_mm: float) -> None:
    image.grid.require(
        labels.grid, what="the label map", advice="give the label map of the same image"
    )
    if len(click.voxel) != 3 or not all(
        0 <= at < size for at, size in zip(click.voxel, image.grid.shape, strict=False)
    ):
        raise InputError(
            f"a click at voxel {tuple(click.voxel)}; expected (z, y, x) inside the image of "
            f"{'×'.join(map(str, image.grid.shape))} voxels"
        )
    if not 1 <= id <= 254:
        raise InputError(f"a click for id {id}; expected a class of the label table, 1 to 254")
    if not reach_mm > 0:
        raise InputError(f"a reach of {reach_mm} mm; expected more than 0")
    if not click.add and labels.array[click.voxel] != id:
        raise InputError(
            f"voxel {tuple(click.voxel)} is not labeled {id}; click at the part of the organ that "
            "is to be removed"
        )


def _around(image: Volume, click: Click, *, reach_mm: float) -> tuple[Box, Float64Array]:
    """The box around a click, and the distance of each of its voxels from the click, in mm."""
    box, squares = [], []
    for axis, (at, size, mm) in enumerate(
        zip(click.voxel, image.grid.shape, image.spacing_mm, strict=True)
    ):
        reach = int(np.ceil(reach_mm / mm)) + 1
        side = slice(max(0, at - reach), min(size, at + reach + 1))
        box.append(side)
        along = ((np.arange(side.start, side.stop) - at) * mm) ** 2
        squares.append(along.reshape([-1 if k == axis else 1 for k in range(3)]))
    distance = np.sqrt(squares[0] + squares[1] + squares[2])
    return (box[0], box[1], box[2]), np.asarray(distance, np.float64)


@dataclass(frozen=True, eq=False)
class _Scene:
    """The box around a click.

    Attributes:
        values: The image.
        own: Where the organ is.
        free: Where it may be: not where another organ is, but for the one that was clicked at.
        only: Whether the organ lies nowhere outside the box.
        distance: From the click, in mm.
        spacing_mm: Of the voxels.
        reach_mm: How far labels may change.
    """

    values: Float64Array
    own: MaskArray
    free: MaskArray
    only: bool
    distance: Float64Array
    spacing_mm: tuple[float, float, float]
    reach_mm: float

    @property
    def ball(self) -> MaskArray:
        """The voxels at the click, at least one."""
        radius = max(_BALL_MM, 0.0)
        return np.asarray((self.distance <= radius) | (self.distance == self.distance.min()))

    def added(self) -> MaskArray:
        """What looks like the place of the click, is connected to it, and lies before an edge."""
        smooth = ndimage.gaussian_filter(self.values, [_SMOOTH_MM / mm for mm in self.spacing_mm])
        alike = self._alike(smooth) & (self.distance < self.reach_mm) & self.free
        at = np.unravel_index(self.distance.argmin(), self.distance.shape)
        alike[at] = True
        # The largest ball around the click that holds nothing else is certain.
        inside = ndimage.distance_transform_edt(alike, sampling=self.spacing_mm)
        certain = self.distance < max(float(inside[at]), max(self.spacing_mm) / 2)
        # Thin bridges lead into neighbors.
        open_ = (inside > min(_BRIDGE_MM, float(inside[at]) / 2)) | certain
        region = _connected(open_, certain)
        rim = region & (self.distance > self.reach_mm - 1.5 * max(self.spacing_mm))
        if (rim & ~certain).any():
            markers = np.full(self.values.shape, -1, np.int32)
            markers[region] = 0
            markers[rim] = _BACK
            markers[certain & region] = _OWN
            region = self._walk(markers, smooth) == _OWN
        # What the bridges took from its surface is given back.
        near = ndimage.distance_transform_edt(~region, sampling=self.spacing_mm)
        grown = (near <= _BRIDGE_MM) & alike
        return np.asarray(ndimage.binary_fill_holes(region | grown), np.bool_)

    def removed(self) -> MaskArray:
        """The part of the organ that is nearer to the click than to the rest of the organ."""
        part = _connected(self.own, self.ball & self.own)
        stays = part & (self.distance >= self.reach_mm)
        if not stays.any():  # the whole piece lies within reach
            if not self.only or 2 * part.sum() < self.own.sum():
                return part
            stays = part & (self.distance >= _FAR * self.distance[part].max())
        markers = np.full(self.values.shape, -1, np.int32)
        markers[part] = 0
        markers[self.ball & part] = _BACK
        markers[stays] = _OWN
        markers[self.distance == self.distance.min()] = _BACK
        return np.asarray(self._walk(markers, self.values) == _BACK)

    def changed(self, probability: LabelArray, *, add: bool) -> MaskArray:
        """What the organ gains or loses by the network's probability of it."""
        free = (self.free | (probability >= UNDECIDED)) & ~self.own if add else self.own
        z, y, x = (int(i) for i in np.unravel_index(self.distance.argmin(), self.distance.shape))
        changed = changed_by_scores(
            self.values,
            probability,
            add=add,
            free=free & (self.distance <= self.reach_mm),
            at=(z, y, x),
            spacing_mm=self.spacing_mm,
        )
        if not add and self.only and not (self.own & ~changed).any():
            changed &= self.distance <= _FAR * self.distance[changed].max()
        return changed

    def _alike(self, smooth: Float64Array) -> MaskArray:
        here = smooth[self.ball]
        middle = float(np.median(here))
        spread = 1.4826 * float(np.median(np.abs(here - middle)))
        tolerance = max(_LEAST_TOLERANCE_HU, _SPREADS * spread)
        return np.asarray(np.abs(smooth - middle) <= tolerance)

    def _walk(self, markers: npt.NDArray[np.int32], values: Float64Array) -> LabelArray:
        segmentation = require("skimage.segmentation", extra="web", why="correcting by a click")
        # Fine voxels are taken several at a time, as many as keep it under a second.
        step = coarsening(markers.shape, self.spacing_mm, most=_MOST_VOXELS)
        cut = tuple(slice(None, None, by) for by in step)
        small = _coarse_markers(markers, step)
        coarse = values[cut][tuple(slice(0, n) for n in small.shape)]
        with warnings.catch_warnings():  # of a faster solver that is not installed
            warnings.simplefilter("ignore")
            found = segmentation.random_walker(
                coarse,
                small,
                beta=_BETA,
                mode="cg_j",
                tol=1e-2,
                spacing=[mm * by for mm, by in zip(self.spacing_mm, step, strict=True)],
            )
        wide = np.asarray(found, np.int32)
        for axis, by in enumerate(step):
            wide = wide.repeat(by, axis=axis)
        wide = wide[tuple(slice(0, n) for n in markers.shape)]
        decided = np.where(markers > 0, markers, wide)
        return np.asarray(np.where(markers < 0, 0, np.maximum(decided, 0)), np.uint8)


def _coarse_markers(markers: npt.NDArray[np.int32], step: list[int]) -> npt.NDArray[np.int32]:
    """Markers of blocks of voxels: what is certain of one is certain of its block."""
    padding = [(0, -n % by) for n, by in zip(markers.shape, step, strict=True)]
    padded = np.pad(markers, padding, constant_values=-1)
    z, y, x = (n // by for n, by in zip(padded.shape, step, strict=True))
    blocks = padded.reshape(z, step[0], y, step[1], x, step[2])
    return np.asarray(blocks.max(axis=(1, 3, 5)), np.int32)


def _connected(mask: MaskArray, start: MaskArray) -> MaskArray:
    """The parts of a mask that hold a voxel of ``start``."""
    pieces, _ = ndimage.label(mask)
    wanted = np.unique(pieces[start & mask])
    return np.asarray(np.isin(pieces, wanted[wanted > 0]))
