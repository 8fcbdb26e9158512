"""The pictures of the cases on one sheet: the paper's Figure 3."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from nnstudent.report.overlays import Overlay
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.words import class_title

CAPTION = (
    "The two best and the two worst cases by the mean DSC of their organs: truth and prediction, "
    "axial and coronal"
)
_GAP, _LINE = 12, 34  # pixels: between pictures, and height of a line of text
_ENTRY = 250  # width of an entry of the legend, in pixels


def draw_sheet(overlays: Sequence[Overlay], table: Taxonomy) -> bytes:
    """Draw a row for each case, truth beside prediction in each plane, and a legend.

    Args:
        overlays: The cases, at least one.
        table: Gives the legend's order.

    Returns:
        A PNG file, on white.
    """
    rows = [
        [picture for panel in overlay.panels for picture in (panel.truth, panel.prediction)]
        for overlay in overlays
    ]
    titles = [
        f"{panel.view}, {side}" for panel in overlays[0].panels for side in ("truth", "prediction")
    ]
    widths = [max(row[column].width for row in rows) for column in range(len(titles))]
    heights = [max(picture.height for picture in row) for row in rows]
    shown = [item for item in table if any(item in overlay.classes for overlay in overlays)]
    width = sum(widths) + _GAP * (len(widths) + 1)
    columns = max(1, (width - 2 * _GAP) // _ENTRY)
    height = _LINE + sum(heights) + (_LINE + _GAP) * len(rows)
    sheet = Image.new("RGB", (width, height + _LINE * -(-len(shown) // columns) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(20)
    lefts = [_GAP * (column + 1) + sum(widths[:column]) for column in range(len(widths))]
    for left, across, title in zip(lefts, widths, titles, strict=True):
        draw.text((left + across / 2, _LINE / 2), title, fill="#5d6b78", font=font, anchor="mm")
    top = _LINE
    for overlay, row, down in zip(overlays, rows, heights, strict=True):
        title = case_heading(overlay)
        draw.text((_GAP, top + _LINE / 2), title, fill="black", font=font, anchor="lm")
        for left, across, picture in zip(lefts, widths, row, strict=True):
            x = left + (across - picture.width) // 2
            sheet.paste(picture, (x, top + _LINE + (down - picture.height) // 2))
        top += _LINE + down + _GAP
    _draw_legend(draw, shown, top=top, columns=columns)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_legend(
    draw: ImageDraw.ImageDraw, classes: Sequence[LabelClass], *, top: int, columns: int
) -> None:
    font = ImageFont.load_default(20)
    for number, item in enumerate(classes):
        x, y = _GAP + number % columns * _ENTRY, top + number // columns * _LINE + _LINE // 2
        draw.rectangle((x, y - 8, x + 16, y + 8), fill=item.color)
        draw.text((x + 26, y), class_title(item.name), fill="black", font=font, anchor="lm")


def case_heading(overlay: Overlay) -> str:
    """Return the heading of a case: ``Best case: case_0007, organ DSC 95.1 %``."""
    return f"{overlay.rank.capitalize()} case: {overlay.id}, organ DSC {overlay.dsc} %"
