"""Uncertainty maps of pseudo-labels.

``probability/<case>.nii.gz`` says how probable the label of each voxel is, from 0 (impossible) to
255 (certain). ``runner_up/<case>.nii.gz`` has the second most probable label.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Grid, Volume


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How certain the label of each voxel is.

    Attributes:
        probability: Probability of the label, 0 to 255, (z, y, x), uint8.
        runner_up: The second most probable label, (z, y, x).
    """

    probability: npt.NDArray[np.uint8]
    runner_up: LabelArray

    @classmethod
    def certain(cls, shape: Sequence[int]) -> Uncertainty:
        """Maps in which every voxel is certain."""
        return cls(np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8))


def probability_path(folder: Path, case: str) -> Path:
    """Path of a case's probability map.

    It lies in a folder of its own, because every image beside the pseudo-labels is a pseudo-label.
    """
    return folder / "probability" / f"{case}.nii.gz"


def runner_up_path(folder: Path, case: str) -> Path:
    """Path of a case's map of runner-up labels."""
    return folder / "runner_up" / f"{case}.nii.gz"


def write_uncertainty(
    folder: Path, case: str, uncertainty: Uncertainty, grid: Grid, *, like: Path
) -> None:
    """Write both maps of a case.

    Args:
        folder: Folder of the pseudo-labels.
        case: The case's id.
        uncertainty: The maps, on the image's grid.
        grid: The image's grid.
        like: The image.
    """
    write_labels(runner_up_path(folder, case), Volume(uncertainty.runner_up, grid), like=like)
    write_labels(probability_path(folder, case), Volume(uncertainty.probability, grid), like=like)


def has_uncertainty(folder: Path, case: str) -> bool:
    """Whether a case has both maps."""
    return probability_path(folder, case).is_file() and runner_up_path(folder, case).is_file()


def remove_uncertainty(folder: Path, case: str) -> None:
    """Remove the maps of a case, as far as they exist."""
    probability_path(folder, case).unlink(missing_ok=True)
    runner_up_path(folder, case).unlink(missing_ok=True)


def read_probability(folder: Path, case: str) -> Volume:
    """Read the probability map of a case.

    Raises:
        InputError: The map is missing or unreadable.
    """
    path = probability_path(folder, case)
    if not path.is_file():
        raise InputError(
            f"{case}: its pseudo-label has no probability map {path}; run label with --probability"
        )
    return read_labels(path)


def read_uncertainty(folder: Path, case: str) -> tuple[Volume, Volume]:
    """Read both maps of a case: probability and runner-up.

    Raises:
        InputError: A map is missing or unreadable.
    """
    return read_probability(folder, case), read_labels(runner_up_path(folder, case))


def fused_uncertainty(
    fused: LabelArray,
    truth: LabelArray | None,
    pseudo: LabelArray,
    uncertainty: Uncertainty,
    *,
    annotated: Collection[int],
    filled: Collection[int],
    taxonomy: Taxonomy,
) -> Uncertainty:
    """Uncertainty of a label map that was completed with a pseudo-label.

    A voxel is uncertain only where its label is the pseudo-label's, and only between labels that
    the truth allows: where the truth is background, between background and the filled classes; in
    an annotated organ, between that organ and a filled lesion.

    Args:
        fused: The result of :func:`~nnstudent.cohort.fuse.fuse`, (z, y, x).
        truth: The truth that was fused; None if there is none.
        pseudo: The pseudo-label that was fused.
        uncertainty: Uncertainty of the pseudo-label.
        annotated: Ids of the classes that the truth decides on.
        filled: Ids of the classes that the pseudo-label fills in.
        taxonomy: The label table, which says which classes are lesions.
    """
    allowed = np.zeros((256, 256), np.bool_)
    allowed[0, [0, *filled]] = True
    lesions = [item.id for item in taxonomy if item.kind == "lesion"]
    for id in set(annotated) - set(lesions):
        allowed[id, [id, *(other for other in filled if other in lesions)]] = True
    beneath = (
        np.zeros_like(fused)
        if truth is None
        else np.where(np.isin(truth, list(annotated)), truth, 0)
    )
    other = np.where(uncertainty.runner_up > 0, uncertainty.runner_up, beneath)
    uncertain = (fused == pseudo) & allowed[beneath, other]
    return Uncertainty(
        np.where(uncertain, uncertainty.probability, 255), np.where(uncertain, other, 0)
    )


def combine_uncertainty(
    fused: LabelArray,
    prediction: LabelArray,
    own: Uncertainty,
    *,
    beneath: LabelArray,
    before: Uncertainty,
) -> Uncertainty:
    """Uncertainty after one model's prediction was laid over the labels of the models before it.

    Where the label is the model's own, its probability is the model's; if the model's runner-up is
    background, the runner-up is the label beneath. Elsewhere (the label of an earlier model, or
    background) all models had a say: the label is as probable as the least certain of them finds
    it, and the runner-up is that model's.

    Args:
        fused: The resulting labels, (z, y, x).
        prediction: The model's labels.
        own: Uncertainty of the model's labels.
        beneath: The labels before the model's were laid over them.
        before: Uncertainty of the labels beneath.
    """
    is_own = (prediction > 0) & (prediction == fused)
    less_certain = ~is_own & (own.probability < before.probability) & (prediction == 0)
    probability = np.where(is_own, own.probability, np.minimum(before.probability, own.probability))
    runner_up = np.where(
        is_own,
        np.where(own.runner_up > 0, own.runner_up, beneath),
        np.where(less_certain, own.runner_up, before.runner_up),
    )
    return Uncertainty(probability, runner_up)
