"""Selection class by class: each class of a case is kept or left open by itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.cohort.ledger import read_ledger
from nnstudent.io.nifti import read_labels
from nnstudent.pseudo.fused import DATASET
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from tests.pseudo.conftest import ALL, Maker
from tests.pseudo.test_select import set_changes

OPEN = SelectSettings(min_agreement=0.6, leave_open=True)


def test_a_class_that_no_model_knows_does_not_keep_the_worst_cases(
    cohort: Cohort, maker: Maker, tmp_path
):
    maker.pseudo_label("none", {"liver": 0.9, "kidney": 0.9}, classes=("liver", "kidney"))
    maker.pseudo_label("partial", {"kidney": 0.7}, classes=("kidney",))
    result = select(cohort, maker.pseudo, tmp_path / "out", settings=replace(OPEN, keep=0.5))
    filled = {choice.case: choice.filled for choice in result.decisions}
    assert filled["none"] == ("liver", "kidney")
    assert filled["partial"] == ()
    (best,) = (choice for choice in result.decisions if choice.case == "none")
    assert best.score == pytest.approx(0.9)
    assert best.why == (
        "folds agree 0.90 over 2 organs, at least 0.60; "
        "2 of 3 classes filled in, the others left open"
    )


def test_with_open_classes_each_needs_a_confidence_of_its_own_lesions_too(
    cohort: Cohort, maker: Maker, tmp_path
):
    maker.pseudo_label("none", {"liver": 0.9, "kidney": 0.9}, confidence={"tumor": 0.5})
    for least, filled in (
        (0.4, ("liver", "kidney", "tumor")),
        (0.6, ("liver", "kidney")),
        (0.95, ()),
    ):
        result = select(
            cohort,
            maker.pseudo,
            tmp_path / str(least),
            settings=replace(OPEN, min_confidence=least),
        )
        (choice,) = (choice for choice in result.decisions if choice.case == "none")
        assert choice.filled == filled


def test_with_open_classes_a_case_keeps_its_truth_and_what_the_folds_agree_on(
    cohort: Cohort, maker: Maker, tmp_path
):
    maker.pseudo_label("none", {"liver": 0.9, "kidney": 0.2})
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out, settings=OPEN)
    choices = {choice.case: choice for choice in result.decisions}
    assert choices["full"].why == "annotated throughout"
    assert (choices["partial"].filled, choices["partial"].open) == (("kidney", "tumor"), ())
    assert (choices["none"].filled, choices["none"].open) == (("liver",), ("kidney", "tumor"))
    assert choices["none"].why == (
        "folds agree 0.55 over 2 organs, under 0.60; 1 of 3 classes filled in, the others left open"
    )
    assert (choices["doubtful"].filled, choices["doubtful"].open) == ((), ("liver", "tumor"))
    assert choices["doubtful"].why == "its truth alone: folds agree 0.30 over 1 organ, under 0.60"
    assert choices["unlabeled"].kept is False

    annotated = {case.id: case.annotated for case in read_cohort(out)}
    assert annotated == {
        **dict.fromkeys(("full", "organs", "partial"), frozenset(ALL)),
        "none": {"liver"},
        "doubtful": {"kidney"},
    }
    for id, classes in annotated.items():
        found = set(np.unique(read_labels(out / DATASET / "labelsTr" / f"{id}.nii.gz").array)) - {0}
        assert found <= {cohort.taxonomy[name].id for name in classes}
    origins = {(row.case, row.cls): row.origin for row in read_ledger(out / "ledger.jsonl")}
    assert [origins["none", name] for name in ALL] == ["pseudo", "dropped", "dropped"]
    assert [origins["doubtful", name] for name in ALL] == ["dropped", "truth", "dropped"]


def test_nnunet_is_not_given_a_case_with_an_open_class(cohort: Cohort, maker: Maker, tmp_path):
    select(cohort, maker.pseudo, tmp_path / "out", settings=OPEN)
    table = json.loads((tmp_path / "out" / DATASET / "dataset.json").read_text())
    assert set(table["dataset"]) == {"full", "organs", "partial", "none"}
    assert table["numTraining"] == 4
    assert table["nnstudent"]["truth"] == ["full"]


def test_with_open_classes_a_bad_rank_takes_the_pseudo_label_only(
    cohort: Cohort, maker: Maker, tmp_path
):
    result = select(cohort, maker.pseudo, tmp_path / "out", settings=replace(OPEN, keep=0.5))
    choices = {choice.case: choice for choice in result.decisions}
    assert (choices["partial"].kept, choices["partial"].filled, choices["partial"].open) == (
        True,
        (),
        ("kidney", "tumor"),
    )
    assert "not among the best 1 of 2" in choices["partial"].why
    written = read_labels(tmp_path / "out" / DATASET / "labelsTr" / "partial.nii.gz").array
    truth = read_labels(cohort["partial"].label).array
    np.testing.assert_array_equal(written, np.where(truth == cohort.taxonomy["liver"].id, truth, 0))


def test_what_changes_from_round_to_round_is_left_open_by_class(
    cohort: Cohort, maker: Maker, tmp_path
):
    maker.pseudo_label("none", {}, folds=1)
    set_changes(maker, "none", [0.25], liver=0.05, kidney=0.4, tumor=0.9)
    set_changes(maker, "partial", [0.1], kidney=0.06, tumor=0.9)
    result = select(cohort, maker.pseudo, tmp_path / "out", settings=replace(OPEN, max_change=0.2))
    choices = {choice.case: choice for choice in result.decisions}
    assert (choices["none"].filled, choices["none"].open) == (
        ("liver",),
        ("kidney", "tumor"),
    )  # a lesion goes with its case
    assert (choices["partial"].filled, choices["partial"].open) == (("kidney", "tumor"), ())
