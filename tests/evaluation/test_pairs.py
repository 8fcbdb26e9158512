"""Which predictions are scored against which truth, and in which classes."""

from __future__ import annotations

import pytest

from nnstudent.cohort.cohort import read_cohort
from nnstudent.errors import InputError
from nnstudent.evaluation.evaluate import evaluate
from tests.evaluation.scenes import make_cohort, organs, save
from tests.evaluation.test_evaluate import TABLE


def test_two_files_of_any_names_are_compared(folders):
    scores = evaluate(folders[0] / "b.nii.gz", folders[1] / "a.nii.gz")
    assert [case.id for case in scores.cases] == ["a"]
    assert scores.cases[0].scores["liver"].dsc < 1


def test_only_annotated_classes_are_scored_and_the_mean_has_their_number(tmp_path):
    cohort = make_cohort(tmp_path / "cohort", test=0, train=3)
    for case in cohort:
        save(tmp_path / "pred" / f"{case.id}.nii.gz", organs(tumor=True))
    scores = evaluate(tmp_path / "pred", tmp_path / "cohort")
    assert set(scores.cases[1].scores) == {"liver"}
    assert set(scores.cases[0].scores) == set(TABLE.organs)
    means = scores.means()
    assert (means["liver"].n, means["spleen"].n, means["organs"].n, means["tumor"].n) == (
        3,
        2,
        3,
        0,
    )
    assert means["spleen"].dsc == 1.0


def test_a_cohort_beside_label_maps_says_what_is_annotated(tmp_path):
    cohort = make_cohort(tmp_path / "cohort")
    for case in cohort:
        save(tmp_path / "pred" / f"{case.id}.nii.gz", organs())
    scores = evaluate(
        tmp_path / "pred",
        tmp_path / "cohort" / "labels",
        annotation=read_cohort(tmp_path / "cohort"),
    )
    assert {case.id: len(case.scores) for case in scores.cases} == {
        "test_02": 14,
        "test_03": 14,
        "train_00": 13,
        "train_01": 1,
    }


def test_test_cases_are_scored_if_one_was_predicted_and_the_missing_scores_zero(tmp_path):
    make_cohort(tmp_path / "cohort")
    save(tmp_path / "pred" / "test_02.nii.gz", organs(tumor=True))
    save(tmp_path / "pred" / "other.nii.gz", organs())
    scores = evaluate(tmp_path / "pred", tmp_path / "cohort")
    assert [case.id for case in scores.cases] == ["test_02", "test_03"]
    assert scores.missing == ("test_03",)
    assert scores.without_truth == ("other.nii.gz",)
    assert scores.means()["liver"].dsc == 0.5
    assert len(evaluate(tmp_path / "pred", tmp_path / "cohort", subset="all").cases) == 4


def test_common_only_lists_the_cases_it_leaves_out(folders):
    (folders[0] / "a.nii.gz").unlink()
    scores = evaluate(*folders, common_only=True)
    assert ([case.id for case in scores.cases], scores.missing) == (["b"], ("a",))
    assert scores.to_dict()["common_only"] is True


def test_classes_can_be_chosen(folders):
    scores = evaluate(*folders, classes=["spleen", "liver"])
    assert scores.classes == ("liver", "spleen")
    with pytest.raises(InputError, match="bladder"):
        evaluate(*folders, classes=["bladder"])


def test_a_class_that_is_in_no_truth_causes_a_note(tmp_path):
    save(tmp_path / "pred" / "a.nii.gz", organs())
    save(tmp_path / "truth" / "a.nii.gz", organs(without=(9,)))
    for name in ("plans.json", "predict_from_raw_data_args.json"):
        (tmp_path / "pred" / name).write_text("{}")  # nnU-Net's own, of which nobody needs to hear
    (tmp_path / "pred" / "notes.txt").write_text("mine")
    scores = evaluate(tmp_path / "pred", tmp_path / "truth")
    assert [note.endswith("notes.txt") for note in scores.notes] == [True, False]
    assert scores.notes[1].startswith("gallbladder, tumor:")
    assert scores.notes[1].endswith("(--cohort or --classes)")
    assert scores.cases[0].scores["gallbladder"].dsc == 0.0


def test_missing_truth_is_named_and_the_others_are_scored(folders, tmp_path):
    cohort = make_cohort(tmp_path / "cohort")
    ids = [case.id for case in cohort.test()]
    for case in cohort.test():
        save(tmp_path / "p" / f"{case.id}.nii.gz", organs())
    cohort.test()[0].label.unlink()
    scores = evaluate(tmp_path / "p", cohort)
    assert [failure.case for failure in scores.failures] == ids[:1]
    assert "no such file" in scores.failures[0].reason
    assert [case.id for case in scores.cases] == ids[1:]


def test_predictions_without_a_matching_case_are_a_usage_error(folders, tmp_path):
    save(tmp_path / "other" / "zzz.nii.gz", organs())
    with pytest.raises(InputError, match=r"zzz\.nii\.gz"):
        evaluate(tmp_path / "other", folders[1])


def test_two_files_of_one_name_are_refused(folders):
    save(folders[0] / "a.nii", organs())
    with pytest.raises(InputError, match=r"both a\.nii"):
        evaluate(*folders)
