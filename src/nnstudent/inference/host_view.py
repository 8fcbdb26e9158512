"""The view of a lesion stage: intensities relative to the organ that would bear the lesion.

A metastasis is darker than its liver in every scan, while the liver's own density differs by 100 HU
between scans. Seen relative to the host, lesions look alike in all scans and contrast phases, and
the organ's outline comes with the image. The same function makes the windows that such a stage
learns from and the volume that it segments.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.inference.lesion_stage import nearest_host
from nnstudent.types import Float32Array, MaskArray
from nnstudent.volume import Spacing

HU_PER_UNIT = 25.0  # a lesion that an eye sees differs by half a unit or more
NOTHING = -3.0  # the value of what is near no host
_LARGEST = 4.0
_OUTSIDE = -2.0  # around it lie the values of what is near a host and not in it
_CLOSING = 2  # voxels; a lesion at the border is often left out of the organ's label
_CUBE = np.ones((3, 3, 3), bool)
_LEAST_VOXELS = 50  # a smaller piece of an organ has no reliable median


def host_view(
    hu: Float32Array,
    organs: npt.NDArray[np.integer],
    hosts: Collection[int],
    *,
    spacing_mm: Spacing,
) -> tuple[Float32Array, MaskArray]:
    """Intensities relative to the median of the nearest host.

    Args:
        hu: Image in HU, (z, y, x).
        organs: Label map, (z, y, x); labels that are no hosts count as background.
        hosts: Labels of the organs that can bear a lesion.
        spacing_mm: Spacing, (z, y, x).

    Returns:
        The view, (z, y, x), and where it shows anything. In a host, holes and notches filled: the
        difference from the host's median in units of :data:`HU_PER_UNIT`, at most 4 either way.
        Within :data:`~nnstudent.inference.lesion_stage.REACH_MM` of one: half of that difference,
        between -3 and -1, so that the border of the host shows. Elsewhere: -3.
    """
    filled = np.zeros(organs.shape, np.uint8)
    medians = np.zeros(256, np.float32)
    shown: list[int] = []
    for label in sorted(hosts):
        own = organs == label
        inside = hu[own]
        if inside.size < _LEAST_VOXELS:
            continue
        medians[label] = np.median(inside)
        filled[own] = label
        shown.append(label)
    for label in shown:
        closed = _closed(filled == label)
        filled[closed & (filled == 0)] = label
    nearest, _ = nearest_host(filled, shown, spacing_mm=spacing_mm)
    relative = (hu - medians[nearest]) / np.float32(HU_PER_UNIT)
    view: Float32Array = np.full(hu.shape, NOTHING, np.float32)
    around = nearest > 0
    view[around] = _OUTSIDE + 0.5 * relative[around].clip(-2.0, 2.0)
    inside_host = filled > 0
    view[inside_host] = relative[inside_host].clip(-_LARGEST, _LARGEST)
    return view, around


def _closed(mask: MaskArray) -> MaskArray:
    """A mask without its holes and narrow notches."""
    margin = 2 * _CLOSING + 1
    box = tuple(
        slice(max(0, part.start - margin), part.stop + margin)
        for part in scipy.ndimage.find_objects(mask.astype(np.uint8))[0]
    )
    grown = scipy.ndimage.binary_dilation(mask[box], _CUBE, iterations=_CLOSING)
    # What lies beyond the array counts as mask, so that nothing is lost at its border.
    shut = scipy.ndimage.binary_erosion(grown, _CUBE, iterations=_CLOSING, border_value=1)
    closed = np.zeros_like(mask)
    closed[box] = scipy.ndimage.binary_fill_holes(shut | mask[box])
    return closed
