"""A picture of a segmentation: three planes through the largest organ, labels over the image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from nnstudent.inference.labels.run_length import voxel_counts
from nnstudent.io.atomic import replacing
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume
from nnstudent.words import class_title

WINDOW_HU = (-160.0, 240.0)
OPACITY = 0.5
# Name of each plane, and the sides on the left, right, top and bottom of the picture.
_PLANES = (("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI"))
_PANEL = 420  # height and width of one plane's place, in pixels
_MARGIN = 26
_ENTRY = 165  # width of one entry of the legend
_ROW = 20


def write_preview(
    path: Path, image: Volume, labels: Volume, taxonomy: Taxonomy, *, title: str = ""
) -> None:
    """Write a PNG with an axial, a coronal and a sagittal plane, the patient's left on the right.

    Args:
        path: The picture, .png.
        image: The image, in HU.
        labels: Its label map.
        taxonomy: The label table: names and colors.
        title: Printed above.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    turned, drawn = image.reoriented(), labels.reoriented()
    counts = voxel_counts(drawn.array)
    present = [item for item in taxonomy if counts[item.id]]
    place = _middle(drawn.array, counts)
    width = len(_PLANES) * (_PANEL + _MARGIN) + _MARGIN
    columns = (width - 2 * _MARGIN) // _ENTRY
    height = _PANEL + 3 * _MARGIN + _ROW * -(-len(present) // columns) + _MARGIN // 2
    sheet = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    draw.text((width / 2, _MARGIN / 2), title, fill="white", font=font, anchor="mm")
    for axis, (name, sides) in enumerate(_PLANES):
        left, top = _MARGIN + axis * (_PANEL + _MARGIN), 2 * _MARGIN
        picture = draw_plane(turned, drawn, present, axis=axis, index=place[axis], longest=_PANEL)
        x, y = left + (_PANEL - picture.width) // 2, top + (_PANEL - picture.height) // 2
        sheet.paste(picture, (x, y))
        draw.text(
            (left + _PANEL / 2, top - _MARGIN / 2), name, fill="white", font=font, anchor="mm"
        )
        across, down = picture.size
        edges = (
            (9.0, down / 2),
            (across - 9.0, down / 2),
            (across / 2, 9.0),
            (across / 2, down - 9.0),
        )
        for side, (right, below) in zip(sides, edges, strict=True):
            draw.text(
                (x + right, y + below),
                side,
                fill="yellow",
                font=font,
                anchor="mm",
                stroke_width=1,
                stroke_fill="black",
            )
    for number, item in enumerate(present):
        x, y = (
            _MARGIN + number % columns * _ENTRY,
            _PANEL + int(2.7 * _MARGIN) + number // columns * _ROW,
        )
        draw.rectangle((x, y, x + 12, y + 12), fill=item.color)
        draw.text((x + 18, y + 6), class_title(item.name), fill="white", font=font, anchor="lm")
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _middle(labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.intp]) -> tuple[int, int, int]:
    """A voxel inside the largest organ: on each axis, the plane that shows most of it.

    Without any organ it is the middle of the image.
    """
    if not counts[1:].any():
        z, y, x = (size // 2 for size in labels.shape)
        return z, y, x
    mask = labels == int(counts[1:].argmax()) + 1
    z, y, x = (
        int(mask.sum(axis=tuple(other for other in range(3) if other != axis)).argmax())
        for axis in range(3)
    )
    return z, y, x


def draw_plane(
    image: Volume,
    labels: Volume,
    classes: Iterable[LabelClass],
    *,
    axis: int,
    index: int,
    longest: int,
    opacity: float = OPACITY,
    outline: bool = False,
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
        outline: Whether the labels' borders are drawn solid.
    """
    # Indices grow to the patient's right, front and head. Both axes are flipped, so that the
    # patient's right, or front, is on the left of the picture, and the front, or head, on top.
    grey, ids = (np.take(volume.array, index, axis=axis)[::-1, ::-1] for volume in (image, labels))
    low, high = WINDOW_HU
    shade = (np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    mm = [
        size * spacing
        for k, (size, spacing) in enumerate(zip(image.grid.shape, image.spacing_mm, strict=True))
        if k != axis
    ]
    scale = longest / max(mm)
    size = (max(1, round(mm[1] * scale)), max(1, round(mm[0] * scale)))
    picture = Image.fromarray(shade).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    drawn = np.asarray(
        Image.fromarray(np.ascontiguousarray(ids)).resize(size, Image.Resampling.NEAREST)
    )
    table = np.zeros((256, 3), np.uint8)
    shown = np.zeros(256, np.uint8)
    for item in classes:
        table[item.id], shown[item.id] = item.color, round(255 * opacity)
    mask = shown[drawn]
    if outline:
        mask = np.where(_borders(drawn) & (mask > 0), np.uint8(255), mask)
    picture.paste(Image.fromarray(table[drawn]), mask=Image.fromarray(mask))
    return picture


def _borders(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Pixels beside one of another class."""
    border = np.zeros(ids.shape, bool)
    down, right = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border
