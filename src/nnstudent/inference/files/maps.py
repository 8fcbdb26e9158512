"""Writes probabilities and uncertainty beside a segmentation, in folders of their own.

Label maps are found by looking through a folder, where these would be taken for some.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.io.atomic import replacing_folder
from nnstudent.io.nifti import write_labels


def write_probabilities(
    folder: Path, maps: ProbabilityMaps, classes: Sequence[str], *, like: Path | None
) -> list[Path]:
    """Write a file for each class, ``CLASS.nii.gz``: 0 for impossible to 255 for certain.

    Args:
        folder: The folder, which is replaced as a whole.
        maps: The probabilities.
        classes: The classes.
        like: The image, if it is a file, whose header is copied.

    Returns:
        The files.

    Raises:
        OutputError: They cannot be written.
    """
    with replacing_folder(folder) as place:
        for name in classes:
            write_labels(place / f"{name}.nii.gz", maps.probability(name), like=like)
    return [folder / f"{name}.nii.gz" for name in classes]


def write_uncertainty(path: Path, maps: ProbabilityMaps, *, like: Path | None) -> None:
    """Write how uncertain each voxel's class is: 0 for certain to 255.

    Args:
        path: The file.
        maps: The probabilities.
        like: The image, if it is a file, whose header is copied.

    Raises:
        OutputError: It cannot be written.
    """
    write_labels(path, maps.uncertainty(), like=like)
