"""True Dice of a segmentation, and a bundle that is calibrated on a cohort."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.errors import GeometryError, InputError
from nnstudent.evaluation import calibrate as module
from nnstudent.evaluation.calibrate import check_cohort, held_out, scans_of_cohort, true_dice
from nnstudent.quality.fit import calibrate
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.quality.cases import known_cases

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


def cohort(train: int, test: int) -> Cohort:
    cases = [
        Case(f"{role}{k}", Path("ct.nii.gz"), Path("label.nii.gz"), frozenset({"spleen", "tumor"}))
        for role, number in (("train", train), ("test", test))
        for k in range(number)
    ]
    unlabeled = Case("unlabeled", Path("ct.nii.gz"), role="test")
    roles = [replace(case, role="test" if case.id[:2] == "te" else "train") for case in cases]
    return Cohort(flare23(), (*roles, unlabeled))


def test_held_out_scans_are_the_test_cases_where_there_are_some() -> None:
    scans = scans_of_cohort(cohort(3, 2), classes=flare23().names)
    assert [scan.id for scan in scans] == ["test0", "test1"]
    assert scans[0].organs == ("spleen",), "lesions have no usual place"
    assert len(scans_of_cohort(cohort(3, 0), classes=flare23().names)) == 3
    assert scans_of_cohort(cohort(3, 2), classes=("liver",)) == ()


def test_test_cases_without_labels_hold_nothing_out() -> None:
    """Otherwise a run would take what the student learned from for what it never saw."""
    assert held_out(cohort(30, 0)) == ()
    assert [case.id for case in held_out(cohort(3, 2))] == ["test0", "test1"]


def test_a_cohort_with_too_few_labeled_scans_is_refused(tmp_path: Path) -> None:
    write_cohort(tmp_path, cohort(30, 4))
    with pytest.raises(InputError, match="4 labeled test cases; expected at least 20 to calibrate"):
        check_cohort(tmp_path)
    write_cohort(tmp_path, cohort(4, 0))
    with pytest.raises(InputError, match="4 labeled cases; expected"):
        check_cohort(tmp_path)
    write_cohort(tmp_path, cohort(20, 0))
    assert len(check_cohort(tmp_path)) == 21


def test_a_student_begins_with_the_calibration_of_the_model_before_it() -> None:
    known = known_cases(1, 40)
    before = calibrate(known[:30], rests_on={"scans": 30})
    few = [replace(case, dice={k: v - 0.3 for k, v in case.dice.items()}) for case in known[30:35]]
    found = module._calibration(before, few, rests_on={"scans": 5})
    assert found.expected == before.expected
    assert all(shift < -0.1 for shift in found.shift.values()), "it is worse, and is expected so"
    assert found.rests_on == {"scans": 30, "adapted_to": {"scans": 5}}
    with pytest.raises(InputError, match="expected at least 20"):
        module._calibration(None, few, rests_on={})
