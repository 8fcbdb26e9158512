"""Teachers and students that learn from partially annotated cases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.taxonomy import IGNORE
from nnstudent.training.design.describe import describe
from nnstudent.training.provenance import task_source
from nnstudent.training.study import study
from nnstudent.training.task import make_splits, organ_task, student_task
from nnstudent.training.teach import teach
from nnstudent.volume import Volume
from tests.training.conftest import tiny_recipe


def test_marginal_teachers_learn_from_all_and_validate_on_the_complete(balls: Cohort) -> None:
    task = organ_task(balls, tiny_recipe(partial="marginal"), folds=2)
    assert [case.id for case in task.cases] == ["a", "b", "c", "d", "partial"]
    assert task.marginal == {"partial": (1,)}
    for split in make_splits(task, [case.id for case in task.cases]):
        assert "partial" in split.train
        assert set(split.val) < {"a", "b", "c", "d"}
    only = replace(balls, cases=tuple(case for case in balls if case.id in ("partial", "none")))
    with pytest.raises(InputError, match=r"^right_ball: annotated in none of 2 training cases"):
        organ_task(only, tiny_recipe(partial="marginal"), folds=2)


def test_plan_only_says_which_loss(balls: Cohort) -> None:
    shown = {}
    for partial in ("background", "marginal"):
        task = student_task(balls, tiny_recipe(partial=partial), organs_only=False, pseudo={})
        shown[partial] = next(line for line in describe(task).lines() if "open classes" in line)
    assert "background; 3 of 5 cases lack classes" in shown["background"]
    assert "marginal loss with exclusion; 3 of 5 cases lack classes" in shown["marginal"]
    full = organ_task(balls, tiny_recipe(), folds=2)
    assert not any("open classes" in line for line in describe(full).lines())


def test_presets_leave_open_what_the_paper_takes_for_background() -> None:
    assert [load_preset(name).student.training.partial for name in ("paper", "laptop", "demo")] == [
        "background",
        "marginal",
        "marginal",
    ]
    assert {
        load_preset(name).teachers.training.partial for name in ("paper", "laptop", "demo")
    } == {"background"}


def test_a_model_of_complete_cases_is_made_from_the_same_whatever_the_loss(
    balls: Cohort, tmp_path: Path
) -> None:
    full = replace(balls, cases=tuple(case for case in balls if case.id in ("c", "d")))
    made = [
        [
            task_source(
                student_task(cohort, tiny_recipe(partial=partial), organs_only=False, pseudo={}),
                tmp_path / "hashes.json",
            )
            for partial in ("background", "marginal")
        ]
        for cohort in (full, balls)
    ]
    assert made[0][0] == made[0][1]
    assert made[1][0] != made[1][1]


@pytest.mark.parametrize("partial", ["background", "marginal"])
def test_a_student_trains_with_ignored_voxels_and_segments(
    balls: Cohort, tmp_path: Path, partial: str
) -> None:
    cases = []
    for case in balls.train():
        if case.label is not None:
            labels = read_labels(case.label)
            array = labels.array.copy()
            array[:4] = IGNORE
            write_labels(tmp_path / "labels" / f"{case.id}.nii.gz", Volume(array, labels.grid))
            cases.append(replace(case, label=tmp_path / "labels" / f"{case.id}.nii.gz"))
    write_cohort(tmp_path / "fused", replace(balls, cases=tuple(cases)))
    (tmp_path / "fused" / "ledger.jsonl").write_text("")
    recipe = tiny_recipe(partial=partial, epochs=1, class_weights="rarity")
    model = study(tmp_path / "fused", tmp_path / "student", recipe)

    written = json.loads((model / "dataset.json").read_text())
    assert written["labels"] == {
        "background": 0,
        "left_ball": 1,
        "right_ball": 2,
        "spot": 3,
        "ignore": 4,
    }
    manager = PlansManager(json.loads((model / "plans.json").read_text())).get_label_manager(
        written
    )
    assert (manager.ignore_label, manager.num_segmentation_heads) == (4, 4)
    curves = json.loads((model / "fold_0" / "progress.json").read_text())
    assert all(math.isfinite(value) for value in (*curves["train_loss"], *curves["val_loss"]))
    assert list(curves["dice_by_class"]) == ["left_ball", "right_ball", "spot"]
    # nnU-Net draws equally many intensities from each case, from foreground without ignored voxels.
    own = [
        (read_image(case.image).array, read_labels(case.label).array)
        for case in cases
        if case.label is not None
    ]
    intensity = json.loads((model / "plans.json").read_text())[
        "foreground_intensity_properties_per_channel"
    ]["0"]
    assert intensity["mean"] == pytest.approx(
        np.mean([hu[(at > 0) & (at != IGNORE)].mean() for hu, at in own]), abs=3
    )

    segmenter = Segmenter(export(model, tmp_path / "bundle", torch_weights=False), threads=1)
    assert segmenter.model.classes == ("left_ball", "right_ball", "spot")
    labels = segmenter(read_image(balls.test()[0].image)).labels.array
    assert set(np.unique(labels)) <= {0, 3, 7, 20}


def test_teachers_and_students_train_with_it(balls: Cohort, tmp_path: Path) -> None:
    recipe = tiny_recipe(partial="marginal", epochs=1)
    # Three resolutions, so that there is deep supervision.
    deep = replace(
        recipe,
        network=replace(
            recipe.network, features=(4, 8, 8), strides=((1, 1, 1), (2, 2, 2), (2, 2, 2))
        ),
    )
    preset = Preset("open", teachers=deep, student=recipe, folds=2)
    trained = teach(
        balls, tmp_path / "teachers", preset.teaching, target="organs", folds=[0]
    ).organs
    assert trained is not None
    assert trained.folds == (0,)
    write_cohort(tmp_path / "fused", balls)
    (tmp_path / "fused" / "ledger.jsonl").write_text("")
    student = study(tmp_path / "fused", tmp_path / "student", preset.student)
    for model, annotated in (
        (trained.model, {"partial": [1]}),
        (student, {"a": [1, 2], "b": [1, 2], "partial": [1]}),
    ):
        assert (
            json.loads((model / "dataset.json").read_text())["nnstudent"]["annotated"] == annotated
        )
        curves = json.loads((model / "fold_0" / "progress.json").read_text())
        assert all(math.isfinite(value) for value in (*curves["train_loss"], *curves["val_loss"]))
