"""Calibrating the expected Dice on scans whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

_WHOLE_ML = 10.0  # what is smaller and has no least volume of its own is a fragment


def true_dice(
    labels: Volume,
    truth: Volume,
    *,
    organs: Iterable[str],
    taxonomy: Taxonomy,
    whole_only: bool = False,
) -> dict[str, float]:
    """Dice of each organ that was found or is there.

    Args:
        labels: The segmentation.
        truth: The true labels, on the same grid.
        organs: The classes that somebody looked for in the truth.
        taxonomy: The label table of both.
        whole_only: Whether organs that the image cuts, or of which the truth holds but a fragment,
            are left out.

    Raises:
        GeometryError: The label maps are on different grids.
    """
    labels.grid.require(
        truth.grid,
        what="the true label map",
        of="the segmentation",
        advice="give the truth of the same scan, on its grid",
    )
    both, found, there = np.zeros((3, 256))
    for one, other in zip(labels.array, truth.array, strict=True):
        found += np.bincount(one.ravel(), minlength=256)
        there += np.bincount(other.ravel(), minlength=256)
        both += np.bincount(one[one == other], minlength=256)
    cut = _at_faces(truth) if whole_only else set()
    dice = {}
    for name in organs:
        id = taxonomy[name].id
        if not found[id] and not there[id]:
            continue
        if whole_only and there[id]:
            least = taxonomy[name].minimum_ml or _WHOLE_ML
            if id in cut or there[id] * truth.grid.voxel_ml < least:
                continue
        dice[name] = round(float(2 * both[id] / (found[id] + there[id])), 4)
    return dice


def _at_faces(truth: Volume) -> set[int]:
    """Ids on a face of the image."""
    faces = (truth.array.take(end, axis=axis) for axis in range(3) for end in (0, -1))
    return {int(id) for face in faces for id in np.unique(face)}
