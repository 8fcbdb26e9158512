"""The pictures of the cases on one sheet: the paper's Figure 3."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from nnstudent.report.context import words
from nnstudent.report.overlays import Overlay
from nnstudent.taxonomy import Taxonomy

CAPTION = "Two good and two bad cases, by the mean DSC of their organs: truth and prediction, axial and coronal"
_GAP, _LINE = 12, 34  # pixels: between pictures, and a line of text
_ENTRY = 250  # width of one entry of the legend


def draw_sheet(overlays: Sequence[Overlay], table: Taxonomy) -> bytes:
    """A row a case, truth beside prediction in each plane, and the legend of all classes shown.

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
    height = (
        _LINE + sum(heights) + (_LINE + _GAP) * len(rows) + _LINE * -(-len(shown) // columns) + _GAP
    )
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(20)
    lefts = [_GAP * (column + 1) + sum(widths[:column]) for column in range(len(widths))]
    for left, across, title in zip(lefts, widths, titles, strict=True):
        draw.text((left + across / 2, _LINE / 2), title, fill="#5d6b78", font=font, anchor="mm")
    top = _LINE
    for overlay, row, down in zip(overlays, rows, heights, strict=True):
        draw.text((_GAP, top + _LINE / 2), heading(overlay), fill="black", font=font, anchor="lm")
        for left, across, picture in zip(lefts, widths, row, strict=True):
            sheet.paste(
                picture,
                (left + (across - picture.width) // 2, top + _LINE + (down - picture.height) // 2),
            )
        top += _LINE + down + _GAP
    for number, item in enumerate(shown):
        x, y = _GAP + number % columns * _ENTRY, top + number // columns * _LINE + _LINE // 2
        draw.rectangle((x, y - 8, x + 16, y + 8), fill=item.color)
        draw.text((x + 26, y), words(item.name), fill="black", font=font, anchor="lm")
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def heading(overlay: Overlay) -> str:
    """A case's line."""
    return f"{overlay.rank.capitalize()} case: {overlay.id}, organ DSC {overlay.dsc} %"
