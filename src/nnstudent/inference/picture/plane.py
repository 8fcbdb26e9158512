"""Draws one plane of a scan with its labels over it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from nnstudent.taxonomy import LabelClass
from nnstudent.types import LabelArray, MaskArray
from nnstudent.volume import Volume

WINDOW_HU = (-160.0, 240.0)
OPACITY = 0.4


def draw_plane(
    image: Volume,
    labels: Volume,
    classes: Iterable[LabelClass],
    *,
    axis: int,
    index: int,
    longest: int,
    opacity: float = OPACITY,
    outline: int = 1,
) -> Image.Image:
    """Draw one plane in radiological orientation, with square millimeters.

    Args:
        image: The image in RAS, in HU.
        labels: Its label map in RAS.
        classes: The classes to show; others are not drawn.
        axis: Array axis perpendicular to the plane: 0 for axial, 1 coronal, 2 sagittal.
        index: Index of the plane on that axis.
        longest: The longer side of the picture, in pixels.
        opacity: Opacity of the labels over the image, 0 to 1.
        outline: Width of the solid outline of each label, inside of it, in pixels; 0 for none.
    """
    # Indices grow to the patient's right, front and head. Both axes are flipped, so that the
    # patient's right, or front, is on the left of the picture, and the front, or head, on top.
    grey, ids = (np.take(volume.array, index, axis=axis)[::-1, ::-1] for volume in (image, labels))
    low, high = WINDOW_HU
    shade = (np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    mm = [
        count * spacing
        for k, (count, spacing) in enumerate(zip(image.grid.shape, image.spacing_mm, strict=True))
        if k != axis
    ]
    scale = longest / max(mm)
    size = (max(1, round(mm[1] * scale)), max(1, round(mm[0] * scale)))
    picture = Image.fromarray(shade).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    table = np.zeros((256, 3), np.uint8)
    shown = np.zeros(256, np.uint8)
    for item in classes:
        table[item.id], shown[item.id] = item.color, round(255 * opacity)
    drawn = _resize_labels(np.where(shown[ids] > 0, ids, np.uint8(0)), size)
    mask = shown[drawn]
    if outline:
        mask[_inner_border(drawn, outline)] = 255
    picture.paste(Image.fromarray(table[drawn]), mask=Image.fromarray(mask))
    return picture


def _resize_labels(ids: LabelArray, size: tuple[int, int]) -> LabelArray:
    """Resize labels to (width, height) with smooth borders: the class with the largest share."""
    drawn = np.zeros(size[::-1], np.uint8)
    best = np.zeros(size[::-1], np.uint8)
    for id in np.unique(ids):
        mask = Image.fromarray((ids == id).astype(np.uint8) * 255)
        share = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
        more = share > best
        drawn[more], best[more] = id, share[more]
    return drawn


def _inner_border(ids: LabelArray, width: int) -> MaskArray:
    """Pixels of a class at most ``width`` away from another class or from background."""
    border = np.zeros(ids.shape, bool)
    for step in range(1, width + 1):
        down, right = ids[step:] != ids[:-step], ids[:, step:] != ids[:, :-step]
        border[step:] |= down
        border[:-step] |= down
        border[:, step:] |= right
        border[:, :-step] |= right
    return border & (ids > 0)
