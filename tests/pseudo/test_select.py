"""Selecting, on files: what is kept, what is written, what the ledger says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, read_cohort
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.index import index
from nnstudent.cohort.ledger import read_ledger
from nnstudent.cohort.uncertainty import (
    has_uncertainty,
    probability_path,
    read_probability,
    read_uncertainty,
    remove_uncertainty,
    runner_up_path,
)
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_grid, read_labels
from nnstudent.pseudo.fused import DATASET
from nnstudent.pseudo.pseudo_label import pseudo_label_paths
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.taxonomy import IGNORE, LabelClass, Taxonomy
from tests.pseudo.conftest import Maker

ALL = ("liver", "kidney", "tumor")
GOOD = {"liver": 0.9, "kidney": 0.7, "tumor": 0.1}


@pytest.fixture
def cohort(maker: Maker) -> Cohort:
    cases = (
        maker.case("full", ALL),
        maker.case("organs", ("liver", "kidney")),
        maker.case("partial", ("liver",)),
        maker.case("none"),
        maker.case("doubtful", ("kidney",)),
        maker.case("unlabeled"),
        maker.case("held_out", ALL, role="test"),
    )
    maker.pseudo_label("organs", GOOD)
    maker.pseudo_label("partial", GOOD)
    maker.pseudo_label("none", GOOD)
    maker.pseudo_label("doubtful", {"liver": 0.3, "kidney": 0.9})
    return maker.cohort(*cases)


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


def test_the_fused_maps_are_truth_over_pseudo_on_the_image_grid(
    cohort: Cohort, maker: Maker, tmp_path
):
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out)
    for id in result.kept:
        case = cohort[id]
        written = read_labels(out / DATASET / "labelsTr" / f"{id}.nii.gz")
        assert written.grid.matches(read_grid(case.image))
        truth = None if case.label is None else read_labels(case.label).array
        prediction = maker.pseudo / f"{id}.nii.gz"
        ids = [cohort.taxonomy[name].id for name in case.annotated]
        expected = fuse(
            truth,
            read_labels(prediction).array if prediction.is_file() else None,
            annotated=ids,
            taxonomy=cohort.taxonomy,
        )
        np.testing.assert_array_equal(written.array, expected)
    assert not (out / DATASET / "labelsTr" / "doubtful.nii.gz").exists()


def test_nnunet_finds_every_image_and_label(cohort: Cohort, maker: Maker, tmp_path):
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out)
    table = json.loads((out / DATASET / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "liver": 1, "kidney": 2, "tumor": 3}
    assert table["numTraining"] == len(result.kept) == len(table["dataset"])
    assert table["nnstudent"]["truth"] == ["full"]
    for row in table["dataset"].values():
        assert all(os.path.isabs(image) and os.path.isfile(image) for image in row["images"])
        assert (out / DATASET / row["label"]).is_file()
    fused = read_cohort(out)
    assert {case.id for case in fused} == set(result.kept)
    assert all(case.annotated == frozenset(ALL) for case in fused)
    assert {item.case for item in fused.broken} == {"doubtful", "unlabeled"}


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


IGNORING = SelectSettings(ignore_below=0.6)


def _is_uncertain(case: Case, fused: int, truth: int, prediction: int, other: int) -> bool:
    """Return whether a voxel has a pseudo-label and the truth allows the runner-up; tumor is 3."""
    names = {1: "liver", 2: "kidney", 3: "tumor"}
    if names.get(fused) in case.annotated or fused != prediction:
        return False
    filled = {id for id, name in names.items() if name not in case.annotated}
    other = other or truth
    return other in ({truth} | (filled & {3}) if truth else {0} | filled)


def test_uncertain_voxels_are_ignored_but_never_what_the_truth_decides(
    cohort: Cohort, maker: Maker, tmp_path
):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    plain, out = tmp_path / "plain", tmp_path / "out"
    select(cohort, maker.pseudo, plain)
    result = select(cohort, maker.pseudo, out, settings=IGNORING)
    assert set(result.ignored) == set(result.kept)
    assert result.ignored["full"] == 0
    fused = read_cohort(out)
    for id in ("organs", "partial", "none"):
        probability = read_probability(maker.pseudo, id).array
        without = read_labels(plain / DATASET / "labelsTr" / f"{id}.nii.gz").array
        nnunet = read_labels(out / DATASET / "labelsTr" / f"{id}.nii.gz").array
        case = cohort[id]
        truth = np.zeros_like(without) if case.label is None else read_labels(case.label).array
        prediction, other = (
            read_labels(path).array
            for path in (pseudo_label_paths(maker.pseudo, id)[0], runner_up_path(maker.pseudo, id))
        )
        open_ = np.vectorize(lambda *voxel, case=case: _is_uncertain(case, *voxel), otypes=[bool])(
            without, truth, prediction, other
        )
        assert 0 < open_.sum() < open_.size or case.label is None
        expected = np.where(open_ & (probability < 153), 4, without)
        np.testing.assert_array_equal(nnunet, expected)
        np.testing.assert_array_equal(
            read_labels(fused[id].label).array, np.where(expected == 4, IGNORE, expected)
        )
        assert result.ignored[id] == pytest.approx((expected == 4).mean(), abs=1e-6)
    assert not (read_labels(fused["full"].label).array == IGNORE).any()


def test_nnunet_is_told_which_label_to_ignore(cohort: Cohort, maker: Maker, tmp_path):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    select(cohort, maker.pseudo, tmp_path / "out", settings=IGNORING)
    table = json.loads((tmp_path / "out" / DATASET / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "liver": 1, "kidney": 2, "tumor": 3, "ignore": 4}
    assert table["nnstudent"]["classes"] == {"1": "liver", "2": "kidney", "3": "tumor"}
    labels = pytest.importorskip(
        "nnunetv2.utilities.label_handling.label_handling", reason="nnU-Net is not installed"
    )
    manager = labels.LabelManager(table["labels"], None)
    assert (manager.ignore_label, manager.num_segmentation_heads) == (4, 4)
    assert index(tmp_path / "out" / DATASET, tmp_path / "again").cohort.taxonomy.names == (
        "liver",
        "kidney",
        "tumor",
    )


def test_another_threshold_writes_again_what_it_changes(cohort: Cohort, maker: Maker, tmp_path):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    out = tmp_path / "out"
    assert select(cohort, maker.pseudo, out, settings=IGNORING).written == 4
    again = select(cohort, maker.pseudo, out, settings=IGNORING)
    assert again.written == 0
    assert again.ignored["none"] > 0.4
    assert select(cohort, maker.pseudo, out, settings=SelectSettings(ignore_below=0.7)).written == 3
    assert select(cohort, maker.pseudo, out).written == 3
    assert not (read_labels(read_cohort(out)["none"].label).array == IGNORE).any()


def test_without_probabilities_nothing_can_be_ignored(cohort: Cohort, maker: Maker, tmp_path):
    maker.pseudo_label("none", GOOD, uncertainty=True)
    with pytest.raises(
        InputError,
        match=r"2 of 3 pseudo-labels come without .*, organs the first; run label again",
    ):
        select(cohort, maker.pseudo, tmp_path / "out", settings=IGNORING)


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


def test_ids_with_gaps_become_consecutive_for_nnunet_and_keep_their_meaning(tmp_path):
    table = Taxonomy(
        "gaps",
        (LabelClass(4, "liver"), LabelClass(2, "kidney"), LabelClass(9, "tumor", kind="lesion")),
    )
    maker = Maker(tmp_path, table)
    cohort = maker.cohort(maker.case("full", ALL))
    select(cohort, maker.pseudo, tmp_path / "out")
    truth = read_labels(cohort["full"].label).array
    nnunet = read_labels(tmp_path / "out" / DATASET / "labelsTr" / "full.nii.gz").array
    assert json.loads((tmp_path / "out" / DATASET / "dataset.json").read_text())["labels"] == {
        "background": 0, "kidney": 1, "liver": 2, "tumor": 3,
    }  # fmt: skip
    for id, value in ((2, 1), (4, 2), (9, 3)):
        np.testing.assert_array_equal(truth == id, nnunet == value)
    again = read_cohort(tmp_path / "out")["full"]
    np.testing.assert_array_equal(read_labels(again.label).array, truth)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_settings_out_of_range_are_refused(value):
    with pytest.raises(InputError, match="min_agreement"):
        SelectSettings(min_agreement=value)


def test_the_uncertainty_of_the_fused_labels_is_written(
    cohort: Cohort, maker: Maker, tmp_path: Path
):
    out = tmp_path / "out"
    for id in ("organs", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    select(cohort, maker.pseudo, out)
    kept = [case for case in read_cohort(out) if has_uncertainty(out, case.id)]
    assert {case.id for case in kept} == {"organs", "none"}
    before = {path: path.read_bytes() for path in (out / DATASET / "labelsTr").iterdir()}
    for case in kept:
        labels, truth = read_labels(case.label).array, cohort[case.id].label
        probability, other = (volume.array for volume in read_uncertainty(out, case.id))
        given, _ = (volume.array for volume in read_uncertainty(maker.pseudo, case.id))
        uncertain = probability < 255
        assert uncertain.any()
        np.testing.assert_array_equal(probability[uncertain], given[uncertain])
        assert not other[~uncertain & (given < 255)].any()
        if (
            truth is not None
        ):  # what is drawn is uncertain only against a lesion that nobody looked for
            drawn = read_labels(truth).array > 0
            assert set(other[uncertain & drawn & (labels != 3)]) <= {0, 3} | set(
                labels[uncertain & drawn]
            )
    remove_uncertainty(maker.pseudo, "none")
    select(cohort, maker.pseudo, out)
    assert not probability_path(out, "none").exists()
    assert {
        path: path.read_bytes() for path in (out / DATASET / "labelsTr").iterdir()
    } == before  # no student is trained again for it
