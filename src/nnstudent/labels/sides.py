"""Tells the right one of a pair from the left one where a label map has both as one class."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnstudent.types import Float64Array, MaskArray
from nnstudent.volume import Grid

_CONNECTED = np.ones((3, 3, 3), bool)
_WHOLE = 0.2  # of the largest piece: less is a fragment, which does not tell where the middle is
_APART_MM = 40.0  # centers of two pieces that are one on each side; kidneys are over 80 mm apart


def split_sides(mask: MaskArray, grid: Grid) -> tuple[MaskArray, MaskArray, bool]:
    """Split a mask into what is on the patient's right and what is on the left.

    Each connected piece goes to one side as a whole. The middle is halfway between the outermost
    of the large pieces; where there is one only, or all are close together (a horseshoe kidney is
    one piece), it is the middle of the image, which is a guess.

    Args:
        mask: The mask, (z, y, x).
        grid: Its grid.

    Returns:
        The right part, the left part, and whether the middle is a guess.
    """
    pieces, count = ndimage.label(mask, _CONNECTED)
    if count == 0:
        return mask, np.zeros_like(mask), False
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    centers = np.array(ndimage.center_of_mass(mask, pieces, numbers))
    x = _right_mm(centers, grid)
    large = x[sizes >= _WHOLE * sizes.max()]
    guessed = bool(np.ptp(large) < _APART_MM)
    if guessed:
        center = (np.array(grid.shape, np.float64) - 1) / 2
        middle = float(_right_mm(center[None], grid)[0])
    else:
        middle = float(large.max() + large.min()) / 2
    right = np.isin(pieces, numbers[x > middle])
    return right, mask & ~right, guessed


def _right_mm(index: Float64Array, grid: Grid) -> Float64Array:
    """Return how far to the right the voxel indices (n, 3) in (z, y, x) lie, in mm."""
    where: Float64Array = index[:, ::-1] @ grid.affine[0, :3] + grid.affine[0, 3]
    return where
