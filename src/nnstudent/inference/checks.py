"""Checks of an image, before and after it is segmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.io import plausible
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume

SMALL_MM = 60.0


def missing_organ_warnings(volumes_ml: Mapping[str, float], taxonomy: Taxonomy) -> tuple[str, ...]:
    """A warning if no organ was found whole, as in a scan of a head, a leg or an animal.

    Args:
        volumes_ml: Volume by class name.
        taxonomy: The label table; without least volumes of organs there is never a warning.
    """
    least = {
        name: taxonomy[name].minimum_ml
        for name in volumes_ml
        if taxonomy[name].kind == "organ" and taxonomy[name].minimum_ml
    }
    if not least or any(volumes_ml[name] >= ml for name, ml in least.items()):
        return ()
    return (f"none of {len(least)} organs was found as a whole; expected a scan of the abdomen",)


def check_image(image: Volume) -> None:
    """Refuse a label map that was given in place of an image.

    Args:
        image: The image to segment.

    Raises:
        InputError: It is a label map.
    """
    if plausible.is_label_map(image.array):
        raise InputError(
            f"holds whole numbers from 0 to {image.array.max():g} only: a label map; "
            "expected a CT in HU, give the image"
        )


def image_warnings(image: Volume) -> tuple[str, ...]:
    """Warnings about an image, one line each.

    Args:
        image: The image that was segmented.

    Returns:
        What was guessed when the image was read, whether it does not look like CT in HU or looks
        like a head, and whether its field of view is too small for organs.
    """
    warnings = [*plausible.image_warnings(image)]
    sample = image.array.ravel()[:: max(1, image.array.size // 1_000_000)]
    body = sample[sample > -300]
    bone, fat = (
        float(np.mean(part)) if len(body) else 0.0
        for part in (body > 300, (body > -150) & (body < -30))
    )
    if (
        len(warnings) == len(image.warnings) and bone > 0.13 and fat < 0.2
    ):  # abdomens: 2 to 10 % and a quarter to a half; heads: a fifth, a tenth
        warnings.append(
            f"does not look like a scan of the abdomen ({bone:.0%} of it is as dense as bone, "
            "with little fat, as in a head)"
        )
    sizes = [n * mm for n, mm in zip(image.grid.shape, image.spacing_mm, strict=True)]
    if min(sizes) < SMALL_MM:
        extent = "×".join(f"{mm:.0f}" for mm in reversed(sizes))
        warnings.append(f"small field of view ({extent} mm); organs are cut or missing")
    return tuple(warnings)


def ids_at_border(image: Volume, labels: LabelArray) -> frozenset[int]:
    """Labels that touch the border of the scanned part, beyond which an organ may extend.

    That is the border of the image or, where it was padded, rotated or masked, the first voxel on
    any line that is not padding. Padding is a value that corners of the image share.

    Args:
        image: The image.
        labels: Label map on its grid, (z, y, x).
    """
    corners, count = np.unique(image.array[[0, -1]][:, [0, -1]][:, :, [0, -1]], return_counts=True)
    pads = corners[count > 1]
    found: set[int] = set()
    for planes in (slice(None), slice(None, None, -1)):
        # Lines along z on which a voxel that is not padding has been seen.
        seen = np.zeros(labels.shape[1:], bool)
        for values, plane in zip(image.array[planes], labels[planes], strict=True):
            labeled = plane > 0
            along_rows = planes.step is None and bool(labeled.any())
            if not along_rows and seen.all():
                continue
            scanned = _scanned(values, pads) | labeled
            found.update(np.unique(plane[scanned & ~seen]).tolist())
            seen |= scanned
            if along_rows:
                found.update(_at_ends(scanned, plane), _at_ends(scanned.T, plane.T))
    return frozenset(found - {0})


def _scanned(values: npt.NDArray[Any], pads: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    scanned = np.ones(values.shape, bool)
    for pad in pads:
        scanned &= values != pad
    return scanned


def _at_ends(scanned: npt.NDArray[np.bool_], plane: LabelArray) -> list[int]:
    """Labels of the first and last scanned voxel of each row."""
    rows = np.flatnonzero(scanned.any(axis=1))
    first, last = (
        scanned.argmax(axis=1)[rows],
        scanned.shape[1] - 1 - scanned[:, ::-1].argmax(axis=1)[rows],
    )
    return [*np.unique(plane[rows, first]).tolist(), *np.unique(plane[rows, last]).tolist()]
