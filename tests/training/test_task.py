from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import flare23
from nnstudent.training.data.dataset import _usable
from nnstudent.training.data.inspect import to_channels
from nnstudent.training.plans import class_weights, make_dataset_json
from nnstudent.training.recipe import Recipe
from nnstudent.training.task import Task, make_splits, organ_task, student_task, tumor_task
from tests.training.conftest import ALL, ORGANS, TABLE, tiny_recipe


def _case(id: str, annotated: frozenset[str] = ORGANS) -> Case:
    return Case(id, Path(f"{id}.nii.gz"), Path(f"{id}_label.nii.gz"), annotated, True)


def _cohort(*cases: Case) -> Cohort:
    return Cohort(TABLE, cases)


def test_organ_teachers_learn_from_fully_annotated_training_cases(
    balls: Cohort, tiny: Recipe
) -> None:
    task = organ_task(balls, tiny, folds=5)
    assert [case.id for case in task.cases] == ["a", "b", "c", "d"]
    assert task.classes == ("left_ball", "right_ball")
    assert task.folds == 4  # at most the number of cases


def test_the_tumor_model_learns_from_cases_with_lesions_annotated(
    balls: Cohort, tiny: Recipe
) -> None:
    task = tumor_task(balls, tiny, folds=1)
    assert task is not None
    assert ([case.id for case in task.cases], task.classes) == (["c", "d"], ("spot",))


def test_the_tumor_model_may_learn_the_organs_of_all_its_cases(
    tiny: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    both = _case("both", frozenset({"left_ball", "right_ball", "spot"}))
    left = _case("left", frozenset({"left_ball", "spot"}))
    task = tumor_task(_cohort(both, left), tiny, folds=1, organs=True)
    assert task is not None
    assert (task.classes, task.partly_annotated) == (("left_ball", "spot"), {})
    assert task.lesions == {"spot": 2}
    alone = _case("alone", frozenset({"spot"}))
    with caplog.at_level(logging.INFO):
        task = tumor_task(_cohort(both, alone), tiny, folds=1, organs=True)
    assert task is not None
    assert task.classes == ("spot",)
    assert "no organ is annotated in all of its cases, so it learns none" in caplog.text


def test_without_a_fully_annotated_case_there_is_no_teacher(tiny: Recipe) -> None:
    cohort = _cohort(_case("one", frozenset({"left_ball"})), Case("two", Path("two.nii.gz")))
    with pytest.raises(InputError, match=r"no case has all 2 organs annotated .*1: one") as error:
        organ_task(cohort, tiny, folds=2)
    assert "\n" not in str(error.value)


def test_without_a_lesion_one_line_says_so(tiny: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert tumor_task(_cohort(_case("one")), tiny, folds=1) is None
    assert [record.message for record in caplog.records] == [
        "no case has spot annotated: no tumor model is trained"
    ]


@settings(deadline=None)  # the machine may be busy
@given(cases=st.integers(1, 12), folds=st.integers(1, 6), seed=st.integers(0, 3))
def test_folds_share_nothing_and_cover_all(cases: int, folds: int, seed: int) -> None:
    task = organ_task(
        _cohort(*(_case(f"c{i}") for i in range(cases))), tiny_recipe(seed=seed), folds=folds
    )
    ids = {case.id for case in task.cases}
    splits = make_splits(task, sorted(ids))
    assert splits == make_splits(task, sorted(ids, reverse=True))
    assert len(splits) == min(folds, cases)
    for split in splits:
        assert split.train
        assert split.val
        assert set(split.train) | set(split.val) == ids
        if len(splits) > 1:
            assert not set(split.train) & set(split.val)
    if len(splits) > 1:
        assert sorted(id for split in splits for id in split.val) == sorted(ids)


def test_a_single_case_is_trained_and_validated_on_with_a_notice(
    tiny: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    task = organ_task(_cohort(_case("one")), tiny, folds=5)
    with caplog.at_level(logging.INFO):
        (split,) = make_splits(task, ["one"])
    assert (split.train, split.val) == (("one",), ("one",))
    assert "validates on cases that it learns from" in caplog.text


def _student(count: int, pseudo: dict[str, tuple[str, ...]]) -> Task:
    cohort = _cohort(*(_case(f"c{i}", ALL) for i in range(count)))
    return student_task(cohort, tiny_recipe(held_out=0.4), organs_only=False, pseudo=pseudo)


@settings(deadline=None)  # the machine may be busy
@given(count=st.integers(1, 14), data=st.data())
def test_a_student_never_validates_on_pseudo_labels(count: int, data: st.DataObject) -> None:
    ids = [f"c{i}" for i in range(count)]
    some = data.draw(st.sets(st.sampled_from(ids)))
    task = _student(count, dict.fromkeys(some, ("right_ball",)))
    (split,) = make_splits(task, ids)
    assert not set(split.val) & some
    held_out = set(ids) - set(split.train)
    assert len(held_out) == (round(0.4 * (count - len(some))) if count - len(some) >= 5 else 0)
    assert held_out <= set(split.val)


def test_a_case_that_fails_changes_no_hold_out_of_which_pseudo_labels_are_hidden() -> None:
    ids = [f"c{i}" for i in range(12)]
    task = _student(12, {"c0": ("spot",)})
    (before,) = make_splits(task, ids)
    assert task.hidden
    for failed in ids:
        (after,) = _usable(task, [before], [id for id in ids if id != failed])
        assert set(after.train) == set(before.train) - {failed}
        assert set(after.val) == set(before.val) - {failed}


def test_only_cases_without_a_pseudo_label_are_drawn_more_often() -> None:
    cohort = _cohort(_case("full", ALL), _case("open", ORGANS), _case("some", ALL))
    recipe, pseudo = tiny_recipe(true_share=0.25), {"open": ("spot",), "some": ("left_ball",)}
    both, organs = (
        student_task(cohort, recipe, organs_only=organs_only, pseudo=pseudo)
        for organs_only in (False, True)
    )
    assert (both.drawn_more, organs.drawn_more) == ({"full"}, {"full", "open"})
    assert not student_task(cohort, tiny_recipe(), organs_only=True, pseudo=pseudo).drawn_more


@pytest.mark.parametrize(("partial", "told"), [("background", True), ("marginal", False)])
def test_open_classes_that_become_background_are_told(
    partial: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = _cohort(_case("full", ALL), _case("some", frozenset({"left_ball"})))
    student_task(cohort, tiny_recipe(partial=partial), organs_only=False, pseudo={})
    assert ("1 of 2 cases leave classes open, which it learns as background" in caplog.text) == told


def test_a_held_out_case_hides_its_pseudo_lesions(balls: Cohort, tiny: Recipe) -> None:
    task = student_task(balls, tiny, organs_only=False, pseudo={"c": ("spot",)})
    assert task.classes == ("left_ball", "right_ball", "spot")
    assert "c" in task.truth
    label = balls["c"].label
    assert label is not None
    channels = to_channels(read_labels(label), task, balls["c"])
    assert set(np.unique(channels.array)) == {
        0,
        1,
        2,
        3,
    }  # it is learned from unless it is held out
    hidden = to_channels(read_labels(label), task, balls["c"], hide=True)
    assert set(np.unique(hidden.array)) == {0, 1, 2}


def test_the_papers_student_learns_organs_only(balls: Cohort, tiny: Recipe) -> None:
    assert student_task(balls, tiny, organs_only=True, pseudo={}).classes == (
        "left_ball",
        "right_ball",
    )


def test_the_second_stage_of_a_cascade_learns_the_classes_it_is_told(
    balls: Cohort, tiny: Recipe
) -> None:
    task = student_task(balls, tiny, organs_only=False, pseudo={}, only=["spot", "right_ball"])
    assert task.classes == balls.taxonomy.sorted(["right_ball", "spot"])
    label = balls["c"].label
    assert label is not None
    labels = read_labels(label)
    channels = to_channels(labels, task, balls["c"]).array
    for channel, name in enumerate(task.classes, 1):
        assert np.array_equal(channels == channel, labels.array == balls.taxonomy[name].id)
    with pytest.raises(InputError, match="--only: no class 'liver'; expected some of left_ball"):
        student_task(balls, tiny, organs_only=False, pseudo={}, only=["liver"])


def test_ids_become_channels_in_the_order_of_the_table(balls: Cohort, tiny: Recipe) -> None:
    task, case = organ_task(balls, tiny, folds=2), balls["c"]
    assert case.label is not None
    labels = read_labels(case.label)
    channels = to_channels(labels, task, case).array
    for channel, id in ((1, 7), (2, 3)):
        assert np.array_equal(channels == channel, labels.array == id)
    assert not channels[labels.array == 20].any()  # a lesion is no organ


def test_a_class_that_nobody_looked_for_is_not_learned(balls: Cohort, tiny: Recipe) -> None:
    task = organ_task(balls, tiny, folds=2)
    assert balls["c"].label is not None
    only_left = replace(balls["c"], annotated=frozenset({"left_ball"}))
    assert set(np.unique(to_channels(read_labels(balls["c"].label), task, only_left).array)) == {
        0,
        1,
    }


def test_dataset_json_maps_channels_to_names() -> None:
    classes = flare23().sorted(("tumor", "liver", "spleen"))
    made = make_dataset_json(flare23(), classes, cases=3)
    assert made["labels"] == {"background": 0, "liver": 1, "spleen": 2, "tumor": 3}
    assert made["nnstudent"]["classes"] == {"1": "liver", "2": "spleen", "3": "tumor"}
    assert made["nnstudent"]["taxonomy"] == flare23().to_dict()


def test_rare_classes_weigh_more() -> None:
    recipe = tiny_recipe(class_weights="rarity")
    assert class_weights(recipe, (10_000.0, 100.0, 1.0, 0.0, 20_000.0)) == pytest.approx(
        (1.0, 10.0, 40.0, 40.0, 1.0)
    )
    assert class_weights(tiny_recipe(class_weights="equal"), (1.0, 1.0)) == ()


def test_a_lesion_weighs_what_the_recipe_says() -> None:
    volumes = (10_000.0, 100.0, 100.0)
    assert class_weights(
        tiny_recipe(class_weights="rarity", lesion_weight=2.0), volumes, lesions=[2]
    ) == pytest.approx((1.0, 10.0, 20.0))
    assert class_weights(
        tiny_recipe(class_weights="equal", lesion_weight=2.0), volumes, lesions=[2]
    ) == (1.0, 1.0, 2.0)
    assert class_weights(tiny_recipe(class_weights="equal", lesion_weight=2.0), volumes) == ()
    with pytest.raises(InputError, match="lesion_weight = 0"):
        tiny_recipe(lesion_weight=0.0)
