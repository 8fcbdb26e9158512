"""Lesions as a part of the organ that they lie in."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Label = TypeVar("Label", bound=np.integer)


def as_hosts(labels: npt.NDArray[Label], lesions: Collection[int]) -> npt.NDArray[Label]:
    """Labels (z, y, x) in which every lesion has the label of most of the voxels around it."""
    among = np.isin(labels, list(lesions))
    parts, _ = ndimage.label(among)
    hosted = labels.copy()
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        around = tuple(slice(max(span.start - 1, 0), span.stop + 1) for span in box)
        own = parts[around] == number
        rim = labels[around][ndimage.binary_dilation(own) & ~among[around]].clip(0)
        hosted[around][own] = np.bincount(rim).argmax() if rim.size else 0
    return hosted
