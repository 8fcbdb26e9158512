"""A cascade's second stage: it looks again, more finely, where the first found some of the classes, and decides on them there."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import scipy

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.types import LabelArray
from nnstudent.volume import Box, Spacing, Volume


def crop_for_second_stage(
    image: Volume, labels: LabelArray, ids: Collection[int], spec: NetworkSpec
) -> tuple[Volume, LabelArray] | None:
    """What a second stage sees.

    Args:
        image: The image.
        labels: What the first stage said, on its grid.
        ids: The second stage's classes.
        spec: The second stage; its ``context_mm`` is the margin.

    Returns:
        The part of the image around what was found, turned to canonical axes, and the labels there, a view; None if nothing was found.
    """
    there = Volume(labels, image.grid).reoriented()
    window = dict(
        zip(
            spec.transpose,
            (size * mm for size, mm in zip(spec.patch, spec.spacing_mm, strict=True)),
            strict=True,
        )
    )
    least = (window[0], window[1], window[2])
    box = box_around(
        there.array,
        ids,
        spacing_mm=there.spacing_mm,
        context_mm=spec.context_mm or 0.0,
        least_mm=least,
    )
    return None if box is None else (image.reoriented().cropped(box), there.array[box])


def box_around(
    labels: LabelArray,
    ids: Collection[int],
    *,
    spacing_mm: Spacing,
    context_mm: float,
    least_mm: Spacing,
) -> Box | None:
    """The box around all voxels of some ids, and a margin.

    Args:
        labels: (z, y, x).
        ids: What to look for.
        spacing_mm: Of the labels, (z, y, x).
        context_mm: The margin, as far as the image reaches.
        least_mm: At least this long along each axis, as far as the image reaches: the extent of a window.

    Returns:
        The box, or None where no voxel is of these ids.
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
        first, last = (
            min(box[axis].start for box in found) - margin,
            max(box[axis].stop for box in found) + margin,
        )
        lacking = max(0, math.ceil(least / mm) - (last - first))
        length = min(size, last - first + lacking)
        first = max(0, min(first - lacking // 2, size - length))
        sides.append(slice(first, min(size, first + length)))
    return sides[0], sides[1], sides[2]


def merge_second_stage(labels: LabelArray, said: LabelArray, ids: Collection[int]) -> None:
    """Take a second stage's word for its classes, in place: what it does not confirm is background.

    Args:
        labels: What the first stage said where the second looked, (z, y, x); changed.
        said: What the second said there; 0 is no class of its own.
        ids: Its classes.
    """
    if ids:
        labels[np.isin(labels, list(ids))] = 0
    np.copyto(labels, said, where=said > 0)
