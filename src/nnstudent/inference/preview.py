"""A picture of a segmentation: three planes through the largest organ, labels over the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.io.atomic import replacing
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Volume

WINDOW_HU = (-160.0, 240.0)


def write_preview(path: Path, image: Volume, labels: Volume, taxonomy: Taxonomy, *, title: str = "") -> None:
    """Write a PNG with an axial, a coronal and a sagittal plane, as radiologists hang them: the patient's left on the right.

    Args:
        path: The picture, .png.
        image: The image, in HU.
        labels: Its label map.
        taxonomy: The label table: names and colors.
        title: Printed above.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only wanted here
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    turned, drawn = image.reoriented(), labels.reoriented()
    counts = np.bincount(drawn.array.ravel(), minlength=256)
    present = [item for item in taxonomy if counts[item.id]]
    place = _middle(drawn.array, counts)
    figure = Figure(figsize=(14, 5.2), facecolor="black")
    canvas = FigureCanvasAgg(figure)
    for number, (name, sides) in enumerate((("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI")), start=1):
        axes = figure.add_subplot(1, 3, number)
        grey, color, aspect = _plane(turned, drawn, present, axis=number - 1, place=place)
        axes.imshow(grey, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=aspect, interpolation="nearest")
        axes.imshow(color, aspect=aspect, interpolation="nearest")
        axes.set_title(name, color="white", fontsize=10)
        axes.set_axis_off()
        for side, (x, y) in zip(sides, ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02)), strict=True):
            axes.text(x, y, side, color="yellow", fontsize=9, ha="center", va="center", transform=axes.transAxes)
    handles = [Patch(color=[c / 255 for c in item.color], label=item.name.replace("_", " ")) for item in present]
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=7, fontsize=8, facecolor="black", labelcolor="white", edgecolor="none")
    figure.suptitle(title or " ", color="white", fontsize=11)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.88, bottom=0.14, wspace=0.02)
    with replacing(path) as temporary:
        canvas.print_png(temporary)


def _middle(labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.intp]) -> tuple[int, int, int]:
    """A voxel in the thick of the largest organ: on each axis the plane that shows most of it; else the image's middle."""
    if not counts[1:].any():
        z, y, x = (size // 2 for size in labels.shape)
        return z, y, x
    mask = labels == int(counts[1:].argmax()) + 1
    z, y, x = (int(mask.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()) for axis in range(3))
    return z, y, x


def _plane(
    image: Volume, labels: Volume, present: list[LabelClass], *, axis: int, place: tuple[int, int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], float]:
    """Grey values and colors of one plane of RAS volumes, top row first, and the height of a pixel over its width."""
    # Along each remaining axis the index grows to the right, front or head of the patient: both are turned, so that the
    # patient's right, or front, is on the left of the picture and the front, or head, on top.
    grey, ids = (np.take(volume.array, place[axis], axis=axis)[::-1, ::-1] for volume in (image, labels))
    color = np.zeros((*ids.shape, 4))
    for item in present:
        color[ids == item.id] = (*(c / 255 for c in item.color), 0.5)
    height, width = (image.spacing_mm[other] for other in range(3) if other != axis)
    return grey, color, height / width
