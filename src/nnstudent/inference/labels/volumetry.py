"""What was found in a scan, as a table: volume, density and what to doubt of each organ."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnstudent.inference.segmentation import Segmentation
from nnstudent.io.atomic import write_text
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

COLUMNS = ("case", "organ", "volume_ml", "mean_hu", "sd_hu", "touches_border", "confidence")


def write_statistics(
    path: Path, case: str, image: Volume, result: Segmentation, taxonomy: Taxonomy
) -> None:
    """Write a CSV with a row for each class: the columns of :data:`COLUMNS`; what is not known of a class that was not found is empty.

    Args:
        path: The file.
        case: Name of the case.
        image: The image, in HU for CT.
        result: Its segmentation.
        taxonomy: The label table.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    means, deviations = densities(image, result.labels)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for name, facts in result.organs.items():
        id = taxonomy[name].id
        hu = ("", "") if np.isnan(means[id]) else (f"{means[id]:.1f}", f"{deviations[id]:.1f}")
        flag = "yes" if facts.touches_border else "no"
        confidence = "" if facts.confidence is None else f"{facts.confidence:.4f}"
        table.writerow((case, name, f"{facts.volume_ml:.3f}", *hu, flag, confidence))
    write_text(path, text.getvalue())


def densities(
    image: Volume, labels: Volume
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of the image over the voxels of each value from 0 to 255, NaN where it has none; 0 is left out.

    Args:
        image: The image.
        labels: Its label map, on the same grid.
    """
    sums = np.zeros((3, 256))
    for values, plane in zip(
        image.array, labels.array, strict=True
    ):  # plane by plane: no copy of eight bytes a voxel
        inside = plane > 0
        label, value = plane[inside], values[inside].astype(np.float64)
        for row, weights in enumerate((None, value, value**2)):
            sums[row] += np.bincount(label, weights, minlength=256)
    count, total, squares = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, deviation
