"""True Dice of a segmentation, and a bundle that is calibrated on a cohort."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import GeometryError
from nnstudent.evaluation.calibrate import true_dice
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

ORGANS = ("liver", "spleen", "aorta")


def volume(*boxes: tuple[int, int, int]) -> Volume:
    """A label map with a slab of planes for each id."""
    labels = np.zeros((30, 40, 40), np.uint8)
    for id, first, stop in boxes:
        labels[first:stop, 5:35, 5:35] = id
    return Volume(labels, Grid(labels.shape, np.diag([3.0, 3.0, 3.0, 1.0])))


def test_dice_of_what_was_found_or_is_there() -> None:
    found, truth = volume((1, 2, 12)), volume((1, 7, 17), (3, 20, 25))
    assert true_dice(found, truth, organs=ORGANS, taxonomy=flare23()) == {
        "liver": 0.5,
        "spleen": 0.0,
    }


def test_organs_that_are_cut_can_be_left_out() -> None:
    found, truth = volume((1, 0, 20), (3, 22, 25)), volume((1, 0, 20), (3, 22, 25))
    known = true_dice(found, truth, organs=ORGANS, taxonomy=flare23(), whole_only=True)
    assert known == {"spleen": 1.0}


def test_truth_on_another_grid_is_refused() -> None:
    other = Volume(np.zeros((3, 4, 4), np.uint8), Grid((3, 4, 4), np.eye(4)))
    with pytest.raises(GeometryError, match="on its grid"):
        true_dice(volume(), other, organs=ORGANS, taxonomy=flare23())
