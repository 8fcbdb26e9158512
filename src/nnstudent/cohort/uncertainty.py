"""How probable each voxel of a pseudo-label is: ``probability/<case>.nii.gz``, 0 for impossible to 255 for certain.

Beside it ``runner_up/<case>.nii.gz``: what the voxel would be else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnstudent.cohort.fuse import Labels
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Grid, Volume


@dataclass(frozen=True, eq=False)
class Doubt:
    """What is thought of each voxel beside its label.

    Attributes:
        probability: How probable the label is, 0 to 255, (z, y, x), uint8.
        runner_up: The label that is most probable else, (z, y, x).
    """

    probability: npt.NDArray[np.uint8]
    runner_up: Labels

    @classmethod
    def none(cls, shape: Sequence[int]) -> Doubt:
        """Everything is certain."""
        return cls(np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8))


def probability_path(folder: Path, case: str) -> Path:
    """Where the map of a case is; in a folder of its own, for every image beside the pseudo-labels is one."""
    return folder / "probability" / f"{case}.nii.gz"


def runner_up_path(folder: Path, case: str) -> Path:
    """Where the map of what would be else is."""
    return folder / "runner_up" / f"{case}.nii.gz"


def write_doubt(folder: Path, case: str, doubt: Doubt, grid: Grid, *, like: Path) -> None:
    """Write both maps of a case.

    Args:
        folder: Folder of the pseudo-labels.
        case: The case's id.
        doubt: On the image's grid.
        grid: That grid.
        like: The image.
    """
    write_labels(runner_up_path(folder, case), Volume(doubt.runner_up, grid), like=like)
    write_labels(probability_path(folder, case), Volume(doubt.probability, grid), like=like)


def doubt_is_there(folder: Path, case: str) -> bool:
    """Whether a case has both maps."""
    return probability_path(folder, case).is_file() and runner_up_path(folder, case).is_file()


def remove_doubt(folder: Path, case: str) -> None:
    """Remove what there is of both."""
    probability_path(folder, case).unlink(missing_ok=True)
    runner_up_path(folder, case).unlink(missing_ok=True)


def read_probability(folder: Path, case: str) -> Volume:
    """Read the map of a case.

    Raises:
        InputError: There is none, or it is unreadable.
    """
    path = probability_path(folder, case)
    if not path.is_file():
        raise InputError(
            f"{case}: its pseudo-label has no {path}, which says how probable each voxel is; run label with --probability"
        )
    return read_labels(path)


def read_doubt(folder: Path, case: str) -> tuple[Volume, Volume]:
    """Both maps of a case, in the order of :class:`Doubt`.

    Raises:
        InputError: One is missing or unreadable.
    """
    return read_probability(folder, case), read_labels(runner_up_path(folder, case))


def doubt_of_fused(
    fused: Labels,
    truth: Labels | None,
    guess: Labels,
    doubt: Doubt,
    *,
    annotated: Collection[int],
    filled: Collection[int],
    taxonomy: Taxonomy,
) -> Doubt:
    """What is thought of labels that were completed with a pseudo-label.

    There is doubt only where the pseudo-label stands, and only between labels that the truth allows: where it has nothing, between
    background and what is filled in; in an annotated organ, between that and a lesion that is filled in.

    Args:
        fused: What :func:`~nnstudent.cohort.fuse.fuse` gave, (z, y, x).
        truth: The truth that it was given; None where there is none.
        guess: The pseudo-label.
        doubt: What its makers think of it.
        annotated: Ids of the classes that the truth decides.
        filled: Ids of those that the pseudo-label fills in.
        taxonomy: The label table; says which classes are lesions.
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
    other = np.where(doubt.runner_up > 0, doubt.runner_up, beneath)
    open_here = (fused == guess) & allowed[beneath, other]
    return Doubt(np.where(open_here, doubt.probability, 255), np.where(open_here, other, 0))


def joined(fused: Labels, said: Labels, own: Doubt, *, beneath: Labels, before: Doubt) -> Doubt:
    """What is thought of the labels after a model's word was laid over that of those before it.

    Where the label is the model's own, it is as probable as the model says; what the model takes for background else, is else what
    lies beneath. Where another's label stays, or nobody has one, all of them had a say: it is as probable as the least sure of
    them finds what it said, and else what that one says.

    Args:
        fused: The labels, (z, y, x).
        said: What the model says.
        own: What it thinks of that.
        beneath: The labels without it.
        before: What was thought of those.
    """
    its_own = (said > 0) & (said == fused)
    unsure = ~its_own & (own.probability < before.probability) & (said == 0)
    probability = np.where(
        its_own, own.probability, np.minimum(before.probability, own.probability)
    )
    runner_up = np.where(
        its_own,
        np.where(own.runner_up > 0, own.runner_up, beneath),
        np.where(unsure, own.runner_up, before.runner_up),
    )
    return Doubt(probability, runner_up)
