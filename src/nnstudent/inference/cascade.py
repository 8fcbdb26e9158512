"""A cascade's second stage, which segments more finely around what the first stage found."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import scipy

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.types import LabelArray
from nnstudent.volume import Box, Spacing, Volume


def crop_for_second_stage(
    image: Volume, labels: LabelArray, *, ids: Collection[int], spec: NetworkSpec
) -> tuple[Volume, LabelArray] | None:
    """The part of an image that a second stage sees.

    Args:
        image: The image.
        labels: Labels of the first stage, on the image's grid.
        ids: Ids of the second stage's classes.
        spec: The second stage; its ``context_mm`` is the margin.

    Returns:
        The image around the voxels of these classes, in canonical axes, and a view of the labels
        there; None if no voxel has one of these classes.
    """
    first = Volume(labels, image.grid).reoriented()
    window = dict(
        zip(
            spec.transpose,
            (size * mm for size, mm in zip(spec.patch, spec.spacing_mm, strict=True)),
            strict=True,
        )
    )
    least = (window[0], window[1], window[2])
    box = box_around(
        first.array,
        ids,
        spacing_mm=first.spacing_mm,
        context_mm=spec.context_mm or 0.0,
        least_mm=least,
    )
    return None if box is None else (image.reoriented().cropped(box), first.array[box])


def box_around(
    labels: LabelArray,
    ids: Collection[int],
    *,
    spacing_mm: Spacing,
    context_mm: float,
    least_mm: Spacing,
) -> Box | None:
    """The box around all voxels of some ids, with a margin.

    Args:
        labels: Label map, (z, y, x).
        ids: Ids of the classes.
        spacing_mm: Spacing of the labels, (z, y, x).
        context_mm: The margin on each side, as far as the image reaches.
        least_mm: Least length along each axis, as far as the image reaches: the extent of a window.

    Returns:
        The box, or None if no voxel has one of these ids.
    """
    found = [
        box
        for id, box in enumerate(scipy.ndimage.find_objects(labels), start=1)
        if box is not None and id in ids
    ]
    if not found:
        return None
    sides = []
    for axis, (size, mm, least) in enumerate(zip(labels.shape, spacing_mm, least_mm, strict=True)):
        margin = math.ceil(context_mm / mm)
        low, high = (
            min(box[axis].start for box in found) - margin,
            max(box[axis].stop for box in found) + margin,
        )
        lacking = max(0, math.ceil(least / mm) - (high - low))
        length = min(size, high - low + lacking)
        low = max(0, min(low - lacking // 2, size - length))
        sides.append(slice(low, min(size, low + length)))
    return sides[0], sides[1], sides[2]


def merge_second_stage(labels: LabelArray, second: LabelArray, *, ids: Collection[int]) -> None:
    """Let a second stage decide on its classes, in place; what it does not confirm is background.

    Args:
        labels: Labels of the first stage on the part that the second saw, (z, y, x); changed.
        second: Labels of the second stage there; 0 leaves the others as they are.
        ids: Ids of the second stage's classes; empty to only lay its labels over the first's.
    """
    if ids:
        labels[np.isin(labels, list(ids))] = 0
    np.copyto(labels, second, where=second > 0)
