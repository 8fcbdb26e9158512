"""Finding the body in an image, coarsely and generously, so that windows of air are skipped."""

from __future__ import annotations

import math

import numpy as np
import scipy

from nnstudent.bundle.spec import Normalization
from nnstudent.inference.windows.sliding import Canvas
from nnstudent.types import MaskArray
from nnstudent.volume import Shape, Spacing

CELL_MM = 4.0
TABLE_MM = 16.0  # a piece nowhere thicker than this in its slice, such as a table, is not body
SMALLEST_ML = 10.0  # smaller pieces, such as tubes, are no body
_AIR_HU = -300.0


def air_limit(normalization: Normalization) -> float | None:
    """The value on the network's scale that separates air from body; None if there is none.

    If intensities are clipped above -300 HU, it is the clipping limit: nnU-Net takes that from the
    training foreground, of which 99.5 % lies above.
    """
    if normalization.scheme != "ct":
        return None
    clipped = normalization.lower >= _AIR_HU
    limit = normalization.lower if clipped else _AIR_HU
    scaled = (limit - normalization.mean) / max(normalization.std, 1e-8)
    # Clipped values lie on the limit, up to rounding.
    return scaled + 1e-3 if clipped else scaled


def cell_size(spacing_mm: Spacing, patch: Shape) -> Shape:
    """Voxels of a cell along each axis: about 4 mm, and at most a quarter of a window."""
    z, y, x = (
        max(1, min(int(CELL_MM / mm), size // 4))
        for mm, size in zip(spacing_mm, patch, strict=True)
    )
    return z, y, x


def pool(mask: MaskArray, cell: Shape) -> MaskArray:
    """The cells in which any voxel is set.

    Args:
        mask: Mask, (z, y, x).
        cell: Voxels of a cell along each axis.
    """
    if cell == (1, 1, 1):
        return mask
    margins = [(0, -size % by) for size, by in zip(mask.shape, cell, strict=True)]
    whole = np.pad(mask, margins)
    z, y, x = (size // by for size, by in zip(whole.shape, cell, strict=True))
    split = whole.reshape(z, cell[0], y, cell[1], x, cell[2])
    pooled: MaskArray = np.logical_or.reduce(split, axis=(1, 3, 5))
    return pooled


def find_body(canvas: Canvas, *, air: float | None, spacing_mm: Spacing, cell: Shape) -> MaskArray:
    """The cells that hold body, and those around them; in any position, and of several bodies.

    Args:
        canvas: The image.
        air: The value below which voxels are air; None if everything is body.
        spacing_mm: Spacing of the network's grid.
        cell: Voxels of a cell along each axis.

    Returns:
        Mask (z, y, x) in cells of the padded image. What body encloses along y or x, such as lungs
        and gas, is body.
    """
    size = canvas.image.shape
    if air is None:
        return np.ones([math.ceil(n / by) for n, by in zip(size, cell, strict=True)], bool)
    # Padding repeats the image's edge. A padded axis has one window only, so that none is added.
    margins = [(part.start, n - part.stop) for part, n in zip(canvas.place, size, strict=True)]
    solid = pool(np.pad(canvas.image[canvas.place] > air, margins, mode="edge"), cell)
    cell_mm = [by * mm for by, mm in zip(cell, spacing_mm, strict=True)]
    # In the slice only: the first and last slices are not thin, nor is what the border cuts.
    reach = [max(1, round(TABLE_MM / 2 / mm)) for mm in cell_mm[1:]]
    brush = np.ones((1, 2 * reach[0] + 1, 2 * reach[1] + 1), bool)
    labels, count = scipy.ndimage.label(solid, np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel(), minlength=count + 1) * (math.prod(cell_mm) / 1000)
    core = scipy.ndimage.binary_erosion(solid, brush, border_value=1)
    core[:, [0, -1]], core[:, :, [0, -1]] = solid[:, [0, -1]], solid[:, :, [0, -1]]
    thick = np.bincount(labels[core], minlength=count + 1)
    # Pieces are kept as a whole: a thin part of a body is body.
    kept = (volumes >= SMALLEST_ML) & (thick > 0)
    kept[0] = False
    body: MaskArray = scipy.ndimage.binary_dilation(_fill(kept[labels]), np.ones((3, 3, 3), bool))
    return body


def _fill(mask: MaskArray) -> MaskArray:
    filled = mask
    for axis in (1, 2):
        before = np.logical_or.accumulate(mask, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
        filled = filled | (before & after)
    return filled
