"""How probable each voxel of a pseudo-label is: ``probability/<case>.nii.gz``, 0 for impossible to 255 for certain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.pseudo.fuse import Labels
from nnstudent.volume import Volume

Probability = npt.NDArray[np.uint8]


def probability_path(folder: Path, case: str) -> Path:
    """Where the map of a case is; in a folder of its own, for every image beside the pseudo-labels is one."""
    return folder / "probability" / f"{case}.nii.gz"


def write_probability(folder: Path, case: str, probability: Volume, *, like: Path) -> None:
    """Write the map of a case.

    Args:
        folder: Folder of the pseudo-labels.
        case: The case's id.
        probability: On the image's grid, uint8.
        like: The image.
    """
    write_labels(probability_path(folder, case), probability, like=like)


def read_probability(folder: Path, case: str) -> Volume:
    """Read the map of a case.

    Raises:
        InputError: There is none, or it is unreadable.
    """
    path = probability_path(folder, case)
    if not path.is_file():
        raise InputError(f"{case}: its pseudo-label has no {path}, which says how probable each voxel is; run label with --probability")
    return read_labels(path)


def joined(fused: Labels, said: Labels, probability: Probability, *, before: Probability) -> Probability:
    """How probable each label is after a model's word was laid over that of those before it.

    Where the label is the model's own, as probable as it says. Where another's label stays, or nobody has one, all of them had a
    say: as probable as the least sure of them finds what it said.

    Args:
        fused: The labels, (z, y, x).
        said: What the model says.
        probability: How probable it finds that.
        before: How probable the labels were without it.
    """
    own = (said > 0) & (said == fused)
    return np.where(own, probability, np.minimum(before, probability))
