"""Chooses what a picture shows: slices that show every class found, and the box around the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nnstudent.inference.labels.run_length import Runs, find_runs
from nnstudent.types import Float64Array, IndexArray, MaskArray
from nnstudent.volume import Box, Volume

SEEN_SHARE = 0.2  # of its largest section: with this much of it, a class is well seen
_AIR_HU = -300.0
_COARSE_MM = 5.0
_THIN_MM = 20.0  # thinner than this, as a table or an arm rest is, a piece is no body
_MARGIN_MM = 8.0
_SPREAD = 0.5  # how much even spacing counts, against one class that is seen


@dataclass(frozen=True, eq=False)
class Sections:
    """How much of each class every plane shows.

    Attributes:
        ids: Ids of the classes that were found, ascending.
        voxels: Number of voxels of each.
        axial: Voxels of each class on each axial plane, (class, z).
        coronal: Voxels of each class on each coronal plane, (class, y).
        boxes: The box around each class, slices along (z, y, x).
    """

    ids: tuple[int, ...]
    voxels: tuple[int, ...]
    axial: IndexArray
    coronal: IndexArray
    boxes: tuple[Box, ...]

    def box(self) -> Box | None:
        """The box around all classes; None if there are none."""
        if not self.boxes:
            return None
        z, y, x = (
            slice(min(part.start for part in parts), max(part.stop for part in parts))
            for parts in zip(*self.boxes, strict=True)
        )
        return z, y, x


def measure_sections(labels: Volume) -> Sections:
    """Measure every class of a label map on every plane.

    Args:
        labels: The label map.
    """
    runs = find_runs(labels.array)
    ids = tuple(int(id) for id in np.unique(runs.label))
    depth, height, width = runs.shape
    row = runs.start // width
    z, y = row // height, row % height
    first, length = runs.start - row * width, runs.stop - runs.start
    axial, coronal, boxes = [], [], []
    for id in ids:
        mine = runs.label == id
        axial.append(np.bincount(z[mine], length[mine], minlength=depth))
        coronal.append(np.bincount(y[mine], length[mine], minlength=height))
        boxes.append(_box(runs, mine=mine, z=z, y=y, x=first))
    return Sections(
        ids,
        tuple(int(area.sum()) for area in axial),
        np.array(axial, np.intp).reshape(len(ids), depth),
        np.array(coronal, np.intp).reshape(len(ids), height),
        tuple(boxes),
    )


def _box(runs: Runs, *, mine: MaskArray, z: IndexArray, y: IndexArray, x: IndexArray) -> Box:
    length = runs.stop[mine] - runs.start[mine]
    return (
        slice(int(z[mine].min()), int(z[mine].max()) + 1),
        slice(int(y[mine].min()), int(y[mine].max()) + 1),
        slice(int(x[mine].min()), int((x[mine] + length).max())),
    )


def choose_slices(areas: IndexArray, *, most: int) -> list[int]:
    """Choose the slices that together show every class well; the rest are spread evenly.

    Each slice in turn is the one that adds most: a class counts by the share of its largest
    section that its best slice shows, up to :data:`SEEN_SHARE` steeply and above it less.

    Args:
        areas: Voxels of each class on each slice, (class, slice); no class for an empty label map.
        most: How many slices to choose.

    Returns:
        Indices in ascending order, at most as many as there are slices.
    """
    count = areas.shape[1]
    if count <= most:
        return list(range(count))
    used = np.flatnonzero(areas.any(axis=0))
    candidates = used if len(used) >= most else np.arange(count)
    largest = areas.max(axis=1, keepdims=True, initial=1)
    share = areas[:, candidates] / np.maximum(largest, 1)
    merit = np.minimum(share / SEEN_SHARE, 1) + 0.5 * np.sqrt(share)
    # Every candidate wants to be near a chosen slice, measured against the part of an even share.
    reach = max(1.0, (candidates[-1] - candidates[0]) / most)
    near = np.clip(1 - np.abs(candidates[:, None] - candidates[None]) / reach, 0, 1)
    wishes = np.concatenate([merit, near * (_SPREAD * most / len(candidates))])
    return sorted(int(candidates[place]) for place in _cover(wishes, most=most))


def _cover(wishes: Float64Array, *, most: int) -> list[int]:
    """Choose columns so that the sum of each row's largest chosen entry is large.

    Greedy, then each is exchanged as long as that helps.

    Args:
        wishes: What each column gives to each row, (row, column).
        most: How many columns to choose.
    """
    chosen: list[int] = []
    best = np.zeros(len(wishes))
    for _ in range(most):
        chosen.append(int(np.maximum(wishes, best[:, None]).sum(axis=0).argmax()))
        best = np.maximum(best, wishes[:, chosen[-1]])
    for _ in range(3):
        before = list(chosen)
        for place in range(most):
            others = [column for k, column in enumerate(chosen) if k != place]
            best = wishes[:, others].max(axis=1, initial=0)
            chosen[place] = int(np.maximum(wishes, best[:, None]).sum(axis=0).argmax())
        if chosen == before:
            break
    return _distinct(chosen, wishes.shape[1])


def _distinct(chosen: list[int], count: int) -> list[int]:
    """Replace columns that were chosen twice by unused ones."""
    unused = (column for column in range(count) if column not in chosen)
    seen: set[int] = set()
    result = []
    for column in chosen:
        if column in seen:
            column = next(unused)
        seen.add(column)
        result.append(column)
    return result


def choose_plane(areas: IndexArray) -> int:
    """Choose the plane that shows the most classes, and as much as possible of each.

    Args:
        areas: Voxels of each class on each plane, (class, plane); the middle without a class.
    """
    if not len(areas):
        return int(areas.shape[1] // 2)
    # The root of each class's share of its own best plane: an adrenal gland counts as much as the
    # liver.
    return int(np.sqrt(areas / areas.max(axis=1, keepdims=True)).sum(axis=0).argmax())


def body_box(image: Volume, *, around: Box | None) -> Box:
    """The box around the body, and around what was found, with a margin.

    Args:
        image: The image in HU; coarsely sampled.
        around: A box that must lie inside; None for none.

    Returns:
        Slices along (z, y, x); along z everything.
    """
    step = [max(1, int(_COARSE_MM / mm)) for mm in image.spacing_mm]
    coarse = image.array[tuple(slice(None, None, by) for by in step)] > _AIR_HU
    reach = [
        max(1, round(_THIN_MM / 2 / by / mm)) for by, mm in zip(step, image.spacing_mm, strict=True)
    ]
    # Thin pieces are removed in the slice only, and not at the border, which cuts the body.
    core = ndimage.binary_opening(
        np.pad(coarse, [(0, 0), *((by, by) for by in reach[1:])], mode="edge"),
        np.ones((1, 2 * reach[1] + 1, 2 * reach[2] + 1), bool),
    )[:, reach[1] : -reach[1], reach[2] : -reach[2]]
    pieces, number = ndimage.label(core)
    spans = [slice(0, size) for size in image.grid.shape]
    if number:
        largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
        found = ndimage.find_objects((pieces == largest).astype(np.uint8))[0]
        for axis in (1, 2):
            margin = round(_MARGIN_MM / image.spacing_mm[axis])
            start, stop = found[axis].start * step[axis], found[axis].stop * step[axis]
            if around is not None:
                start, stop = min(start, around[axis].start), max(stop, around[axis].stop)
            size = image.grid.shape[axis]
            spans[axis] = slice(max(0, start - margin), min(size, stop + margin))
    return spans[0], spans[1], spans[2]
