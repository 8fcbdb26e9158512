"""Chooses the planes of a case that the report shows, and draws them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnstudent.inference.picture.plane import draw_plane
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Grid, Volume

AXES = {"axial": 0, "coronal": 1}  # axes of a (z, y, x) array in RAS
_MARGIN_MM = 40.0


@dataclass(frozen=True)
class View:
    """A plane through a volume.

    Attributes:
        name: ``axial`` or ``coronal``.
        index: Its place along that axis of the (z, y, x) array in RAS.
    """

    name: str
    index: int


def around_organs(labels: Volume) -> tuple[slice, slice, slice]:
    """Return the box around all labels, with a margin, or all of a volume without labels.

    Args:
        labels: A label map in RAS.

    Returns:
        Slices along (z, y, x).
    """
    spans = []
    for axis, (size, mm) in enumerate(zip(labels.array.shape, labels.spacing_mm, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(labels.array.any(axis=others))
        if used.size:
            margin = round(_MARGIN_MM / mm)
            spans.append(slice(max(int(used[0]) - margin, 0), int(used[-1]) + margin + 1))
        else:
            spans.append(slice(0, size))
    return spans[0], spans[1], spans[2]


def cut(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """Return the part of a volume in a box of (z, y, x) slices; it stays in its place."""
    array = volume.array[box]
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))


def find_view(labels: Volume, name: str) -> View:
    """Return the plane that shows the most classes, and as much as possible of each.

    Args:
        labels: A label map in RAS; the middle plane is taken from an empty one.
        name: ``axial`` or ``coronal``.
    """
    axis = AXES[name]
    others = tuple(other for other in range(3) if other != axis)
    areas = [
        np.count_nonzero(labels.array == id, axis=others) for id in np.unique(labels.array) if id
    ]
    if not areas:
        return View(name, labels.array.shape[axis] // 2)
    # The root of each class's share of its own best plane: an adrenal gland counts as much as the
    # liver.
    return View(name, int(np.argmax(sum(np.sqrt(area / area.max()) for area in areas))))


def ids_in(labels: Volume, view: View) -> set[int]:
    """Return the class ids that a plane shows."""
    plane = np.take(labels.array, view.index, axis=AXES[view.name])
    return {int(id) for id in np.unique(plane) if id}


def draw(
    image: Volume, labels: Volume, *, view: View, taxonomy: Taxonomy, longest: int = 480
) -> Image.Image:
    """Draw one plane with its labels.

    Args:
        image: The CT in RAS, in HU.
        labels: A label map on the same grid.
        view: The plane.
        taxonomy: Gives the colors.
        longest: Length of the longer side, in pixels.
    """
    return draw_plane(
        image,
        labels,
        taxonomy,
        axis=AXES[view.name],
        index=view.index,
        longest=longest,
        opacity=0.38,
        outline=1,
    )


def slice_stack(
    image: Volume, *, truth: Volume, prediction: Volume, taxonomy: Taxonomy, most: int = 32
) -> list[Image.Image]:
    """Draw evenly spread axial slices from head to feet, truth beside prediction.

    Args:
        image: The CT in RAS, in HU.
        truth: The true label map, on the same grid.
        prediction: The predicted label map, on the same grid.
        taxonomy: Gives the colors.
        most: Largest number of slices.

    Returns:
        Pictures with the truth on the left and the prediction on the right.
    """
    count = len(image.array)
    pictures = []
    for index in np.linspace(count - 1, 0, min(count, most)).round().astype(int):
        view = View("axial", int(index))
        left, right = (
            draw(image, labels, view=view, taxonomy=taxonomy, longest=360)
            for labels in (truth, prediction)
        )
        both = Image.new("RGB", (left.width + right.width + 6, left.height))
        both.paste(left, (0, 0))
        both.paste(right, (left.width + 6, 0))
        pictures.append(both)
    return pictures


def jpeg(picture: Image.Image, *, quality: int = 90) -> bytes:
    """Return the picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
