"""Selecting, on files: what is kept, what is written, what the ledger says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.cohort.cohort import Cohort
from nnstudent.cohort.ledger import read_ledger
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
from nnstudent.pseudo.fused import DATASET
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from tests.pseudo.conftest import ALL, GOOD, Maker


def test_each_case_is_judged_by_the_organs_that_are_filled_in(
    cohort: Cohort, maker: Maker, tmp_path
):
    result = select(
        cohort, maker.pseudo, tmp_path / "out", settings=SelectSettings(min_agreement=0.6)
    )
    why = {choice.case: (choice.kept, choice.why) for choice in result.decisions}
    assert why["full"] == (True, "annotated throughout")
    assert why["organs"] == (True, "only tumor filled in")
    assert why["partial"] == (True, "folds agree 0.70 over 1 organ, at least 0.60")
    assert why["none"] == (True, "folds agree 0.80 over 2 organs, at least 0.60")
    assert why["doubtful"] == (False, "folds agree 0.30 over 1 organ, under 0.60")
    assert why["unlabeled"][0] is False
    assert "no pseudo-label" in why["unlabeled"][1]
    assert "held_out" not in why


def test_the_ledger_has_a_row_for_each_training_case_and_class(
    cohort: Cohort, maker: Maker, tmp_path
):
    out = tmp_path / "out"
    select(cohort, maker.pseudo, out)
    rows = read_ledger(out / "ledger.jsonl")
    assert {(row.case, row.cls) for row in rows} == {
        (case.id, name) for case in cohort.train() for name in ALL
    }
    assert len(rows) == len(cohort.train()) * len(ALL)
    first = json.loads((out / "ledger.jsonl").read_text().splitlines()[0])
    assert list(first) == ["case", "class", "origin", "model", "round", "score", "why", "change"]
    by = {(row.case, row.cls): row for row in rows}
    assert {by["full", name].origin for name in ALL} == {"truth"}
    assert (by["partial", "liver"].origin, by["partial", "liver"].model) == ("truth", None)
    filled = by["partial", "kidney"]
    assert (filled.origin, filled.model, filled.round, filled.score) == ("pseudo", "m1", 1, 0.7)
    assert {by["doubtful", name].origin for name in ALL} == {"dropped"}


def test_a_second_call_writes_nothing_and_a_new_pseudo_label_only_its_case(
    cohort: Cohort, maker: Maker, tmp_path
):
    out = tmp_path / "out"
    assert select(cohort, maker.pseudo, out).written == 4
    assert select(cohort, maker.pseudo, out).written == 0
    maker.pseudo_label("none", GOOD)  # drawn anew
    assert select(cohort, maker.pseudo, out).written == 1


def test_a_broken_case_is_named_and_the_others_are_done(cohort: Cohort, maker: Maker, tmp_path):
    (maker.pseudo / "none.nii.gz").write_bytes(b"not an image")
    (maker.pseudo / "partial.json").write_text("{}")
    result = select(cohort, maker.pseudo, tmp_path / "out")
    assert {item.case for item in result.failures} == {"none", "partial"}
    assert result.kept == ("full", "organs")


def test_a_label_that_left_the_grid_of_its_image_is_refused(maker: Maker, tmp_path):
    from nnstudent.volume import Grid

    wrong = maker.case("wrong", ALL, grid=Grid((6, 8, 10), np.diag([2.0, 1.5, 3.1, 1.0])))
    result = select(maker.cohort(maker.case("full", ALL), wrong), maker.pseudo, tmp_path / "out")
    assert result.kept == ("full",)
    assert "index and label the case again" in result.failures[0].reason


def test_one_bad_organ_and_a_bad_rank_drop_a_case(cohort: Cohort, maker: Maker, tmp_path):
    strict = select(
        cohort,
        maker.pseudo,
        tmp_path / "a",
        settings=SelectSettings(min_agreement=0.6, min_class_agreement=0.75),
    )
    why = {choice.case: choice.why for choice in strict.decisions if not choice.kept}
    assert why["none"] == "folds agree 0.70 on kidney, under 0.75 for one organ"
    half = select(
        cohort, maker.pseudo, tmp_path / "b", settings=SelectSettings(min_agreement=0.6, keep=0.5)
    )
    assert half.kept == ("full", "organs", "none")
    rows = [row for row in read_ledger(tmp_path / "b" / "ledger.jsonl") if row.case == "partial"]
    assert {row.origin for row in rows} == {"dropped"}
    assert rows[0].why == (
        "annotated, but the case is dropped: folds agree 0.70 over 1 organ, at least 0.60, "
        "but not among the best 1 of 2"
    )


def set_changes(maker: Maker, id: str, changes: list[float], **by_class: float) -> None:
    record = maker.pseudo / f"{id}.json"
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"changes": changes, "class_change": by_class})
    )


def test_what_changes_from_round_to_round_is_dropped_by_case(
    cohort: Cohort, maker: Maker, tmp_path
):
    maker.pseudo_label(
        "none", {}, folds=1
    )  # of one model, so that nothing else is there to judge by
    set_changes(maker, "none", [0.3, 0.2], liver=0.05, kidney=0.4)
    set_changes(maker, "partial", [0.1, 0.02], kidney=0.06)
    result = select(cohort, maker.pseudo, tmp_path / "a", settings=SelectSettings(max_change=0.2))
    why = {choice.case: choice.why for choice in result.decisions if not choice.kept}
    assert why["none"] == "25.0 % of its foreground changes from round to round, over 20.0 %"
    assert set(why) == {"none", "doubtful", "unlabeled"}
    assert "none" in select(cohort, maker.pseudo, tmp_path / "b").kept
    rows = {(row.case, row.cls): row for row in read_ledger(tmp_path / "b" / "ledger.jsonl")}
    assert (
        rows["none", "kidney"].change,
        rows["none", "tumor"].change,
        rows["full", "liver"].change,
    ) == (0.4, None, None)


def test_no_case_left_is_an_error_that_points_at_the_ledger(maker: Maker, tmp_path):
    maker.pseudo_label("a", {"liver": 0.1, "kidney": 0.1})
    with pytest.raises(
        InputError,
        match=r"no case is left to learn from \(folds agree 0.10 .*ledger.jsonl says why",
    ):
        select(maker.cohort(maker.case("a")), maker.pseudo, tmp_path / "out")
    assert len(read_ledger(tmp_path / "out" / "ledger.jsonl")) == 3


def test_a_class_that_no_model_knows_drops_the_case_only_if_it_is_learned(maker: Maker, tmp_path):
    cohort = maker.cohort(maker.case("full", ALL), maker.case("none"))
    maker.pseudo_label("none", GOOD, classes=("liver", "kidney"))
    result = select(cohort, maker.pseudo, tmp_path / "out")
    assert result.kept == ("full",)
    assert (
        result.decisions[1].why == "tumor neither annotated nor known to the models that labeled it"
    )
    organs = select(cohort, maker.pseudo, tmp_path / "organs", classes=("liver", "kidney"))
    assert organs.kept == ("full", "none")
    rows = [row for row in read_ledger(tmp_path / "organs" / "ledger.jsonl") if row.cls == "tumor"]
    assert [(row.case, row.origin, row.why) for row in rows] == [
        ("full", "dropped", "not a class of this student"),
        ("none", "dropped", "not a class of this student"),
    ]
    for id in organs.kept:
        assert set(
            np.unique(
                read_labels(tmp_path / "organs" / DATASET / "labelsTr" / f"{id}.nii.gz").array
            )
        ) <= {0, 1, 2}


def test_a_tumor_that_is_not_learned_and_leaves_holes_is_a_warning(
    cohort: Cohort, maker: Maker, tmp_path, caplog
):
    select(cohort, maker.pseudo, tmp_path / "out")
    assert not caplog.messages
    select(cohort, maker.pseudo, tmp_path / "organs", classes=("liver", "kidney"))
    (warning,) = caplog.messages
    assert warning.startswith("tumor: found in 2 of 2 pseudo-labels but not learned")


def test_without_folds_to_compare_a_case_is_kept_with_a_note(maker: Maker, tmp_path):
    maker.pseudo_label("single", {}, folds=1)
    maker.pseudo_label("external", {}, folds=0)
    result = select(
        maker.cohort(maker.case("single"), maker.case("external")), maker.pseudo, tmp_path / "out"
    )
    assert [choice.why for choice in result.decisions] == [
        "kept without agreement: a single fold",
        "kept without agreement: labels made elsewhere",
    ]


def test_a_single_tumor_model_does_not_hide_that_the_organ_folds_disagree(maker: Maker, tmp_path):

    maker.pseudo_label("doubtful", {"liver": 0.2, "kidney": 0.3})
    record = maker.pseudo / "doubtful.json"
    data = json.loads(record.read_text())
    data["folds"]["tumor"] = 1
    record.write_text(json.dumps(data))
    result = select(
        maker.cohort(maker.case("full", ALL), maker.case("doubtful")),
        maker.pseudo,
        tmp_path / "out",
    )
    assert result.kept == ("full",)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_settings_out_of_range_are_refused(value):
    with pytest.raises(InputError, match="min_agreement"):
        SelectSettings(min_agreement=value)
