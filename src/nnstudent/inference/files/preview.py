"""Writes the picture of a segmentation as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.picture.sheet import draw_sheet
from nnstudent.io.atomic import replacing
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


def write_preview(
    path: Path,
    image: Volume,
    labels: Volume,
    taxonomy: Taxonomy,
    *,
    title: str = "",
    organs: Mapping[str, OrganFacts] | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write a PNG with six axial slices, a coronal plane, a 3D view and a legend.

    Args:
        path: The picture, .png.
        image: The image, in HU.
        labels: Its label map.
        taxonomy: The label table: names and colors.
        title: Printed above.
        organs: Facts about each class that was looked for; None to measure them, in which case
            the legend does not list what was not found.
        warnings: What a reader should know about the case; printed under the title.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    sheet = draw_sheet(image, labels, taxonomy, title=title, organs=organs, warnings=warnings)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")
