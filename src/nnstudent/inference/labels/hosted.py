"""Lesions as a part of the organ that they lie in."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.types import LabelArray

Label = TypeVar("Label", bound=np.integer)


def as_hosts(labels: npt.NDArray[Label], lesions: Collection[int]) -> npt.NDArray[Label]:
    """Labels (z, y, x) in which every lesion has the label of most of the voxels around it."""
    among = np.isin(labels, list(lesions))
    parts, _ = scipy.ndimage.label(among)
    hosted = labels.copy()
    for number, box in enumerate(scipy.ndimage.find_objects(parts), start=1):
        around = tuple(slice(max(span.start - 1, 0), span.stop + 1) for span in box)
        own = parts[around] == number
        rim = labels[around][scipy.ndimage.binary_dilation(own) & ~among[around]].clip(0)
        hosted[around][own] = np.bincount(rim).argmax() if rim.size else 0
    return hosted


def give_lesions_to_hosts(labels: LabelArray, lesions: Collection[int]) -> None:
    """Relabel every lesion as what surrounds it, in place.

    Args:
        labels: Label map, (z, y, x).
        lesions: Ids of the lesion classes.
    """
    found = scipy.ndimage.find_objects(labels, max_label=max(lesions, default=0))
    boxes = [found[id - 1] for id in lesions if found[id - 1] is not None]
    if not boxes:
        return
    box = tuple(
        slice(
            max(0, min(one[axis].start for one in boxes) - 1),
            max(one[axis].stop for one in boxes) + 1,
        )
        for axis in range(labels.ndim)
    )
    labels[box] = as_hosts(labels[box], lesions)
