"""Which planes of a case the report shows, and the pictures of them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnstudent.inference.files.preview import draw_plane
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Grid, Volume

AXES = {"axial": 0, "coronal": 1}  # of a (z, y, x) array in RAS
_MARGIN_MM = 40.0


@dataclass(frozen=True)
class View:
    """A plane through a volume: ``axial`` or ``coronal``, and its index along that axis of the (z, y, x) array in RAS."""

    name: str
    index: int


def around_organs(labels: Volume) -> tuple[slice, slice, slice]:
    """The box around everything labeled, with a margin; all of the volume where nothing is.

    Args:
        labels: A label map in RAS.
    """
    spans = []
    for axis, (size, mm) in enumerate(zip(labels.array.shape, labels.spacing_mm, strict=True)):
        used = np.flatnonzero(
            labels.array.any(axis=tuple(other for other in range(3) if other != axis))
        )
        margin = round(_MARGIN_MM / mm)
        spans.append(
            slice(max(int(used[0]) - margin, 0), int(used[-1]) + margin + 1)
            if used.size
            else slice(0, size)
        )
    return spans[0], spans[1], spans[2]


def cut(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The part of a volume in a box, in its place."""
    array = volume.array[box]
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))


def find_view(labels: Volume, name: str) -> View:
    """The plane that shows the most classes, and of each as much as can be.

    Args:
        labels: A label map in RAS; of an empty one the middle is taken.
        name: ``axial`` or ``coronal``.
    """
    axis = AXES[name]
    others = tuple(other for other in range(3) if other != axis)
    areas = [
        np.count_nonzero(labels.array == id, axis=others) for id in np.unique(labels.array) if id
    ]
    if not areas:
        return View(name, labels.array.shape[axis] // 2)
    # The root of each class's share of its own best plane: an adrenal gland counts as much as the liver does.
    return View(name, int(np.argmax(sum(np.sqrt(area / area.max()) for area in areas))))


def ids_in(labels: Volume, view: View) -> set[int]:
    """The ids that a plane shows."""
    return {
        int(id) for id in np.unique(np.take(labels.array, view.index, axis=AXES[view.name])) if id
    }


def draw(
    image: Volume, labels: Volume, view: View, *, taxonomy: Taxonomy, longest: int = 480
) -> Image.Image:
    """One plane with its labels.

    Args:
        image: The CT in RAS, in HU.
        labels: A label map on the same grid.
        view: The plane.
        taxonomy: Gives the colors.
        longest: The longer side, in pixels.
    """
    return draw_plane(
        image,
        labels,
        taxonomy,
        axis=AXES[view.name],
        index=view.index,
        longest=longest,
        opacity=0.38,
        outline=True,
    )


def slice_stack(
    image: Volume, truth: Volume, prediction: Volume, *, taxonomy: Taxonomy, most: int = 32
) -> list[Image.Image]:
    """Axial slices from head to feet, evenly spread, each with the truth on the left and the prediction on the right.

    Args:
        image: The CT in RAS, in HU.
        truth: Its label map.
        prediction: Another, on the same grid.
        taxonomy: Gives the colors.
        most: How many slices at most.
    """
    count = len(image.array)
    pictures = []
    for index in np.linspace(count - 1, 0, min(count, most)).round().astype(int):
        view = View("axial", int(index))
        left, right = (
            draw(image, labels, view, taxonomy=taxonomy, longest=360)
            for labels in (truth, prediction)
        )
        both = Image.new("RGB", (left.width + right.width + 6, left.height))
        both.paste(left, (0, 0))
        both.paste(right, (left.width + 6, 0))
        pictures.append(both)
    return pictures


def jpeg(picture: Image.Image, *, quality: int = 90) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
