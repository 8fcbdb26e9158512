"""The preset `paper` against the paper's figures.

Where the paper's text contradicts itself, the figures are this project's, and
presets/paper.toml gives the reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.pipeline.preset import load_preset
from nnstudent.taxonomy import flare23
from nnstudent.training.annotated import PartialLabels
from nnstudent.training.design.describe import built_augmentations, count
from nnstudent.training.objective import Objective
from nnstudent.training.plans import Fingerprint, architecture, make_plans
from nnstudent.training.recipe import Recipe
from nnstudent.training.task import make_splits, student_task
from tests.conftest import ROOT

PAPER = load_preset("paper")
FINGERPRINT = Fingerprint({"mean": 0.0, "std": 1.0}, (2.5, 0.8, 0.8), (100, 512, 512), (1.0,) * 14)


def test_parameters_and_operations() -> None:
    teacher, student = PAPER.teachers, PAPER.student
    assert count(teacher.network, teacher.data.patch, classes=14)[0] == 30_713_158
    parameters, gflop = count(student.network, student.data.patch, classes=14)
    assert parameters == 5_649_208
    assert gflop == pytest.approx(134.4, abs=0.1)
    assert PAPER.tumor is not None
    assert PAPER.tumor.network == student.network


def test_the_other_readings_of_the_paper_count_as_said() -> None:
    student, teacher = PAPER.student.network, PAPER.teachers.network
    patch = PAPER.student.data.patch
    flat = replace(student, kernels=((1, 3, 3), *[(3, 3, 3)] * 4))
    assert count(flat, patch, classes=14)[0] == 5_630_488
    isotropic = replace(teacher, kernels=((3, 3, 3),), strides=((1, 1, 1), *[(2, 2, 2)] * 5))
    assert count(isotropic, (64, 192, 192), classes=14)[0] == 31_205_254


def test_five_teachers_a_student_and_a_separate_tumor_model() -> None:
    assert (PAPER.folds, PAPER.tumor_folds, PAPER.one_student) == (5, 1, False)
    assert (PAPER.decision, PAPER.select.min_agreement, PAPER.windows) == ("argmax", 0.0, "flare22")


def test_the_losses_at_the_resolutions_weigh_as_the_text_has_them() -> None:
    wrapped = DeepSupervisionWrapper(torch.nn.Identity(), (4 / 7, 2 / 7, 1 / 7, 0.0))
    settings: dict[str, Any] = {
        "partial": PartialLabels({}, 14),
        "class_weights": (),
        "device": torch.device("cpu"),
    }
    Objective(wrapped, replace(PAPER.student.training, coarsest_loss=False), **settings)
    assert wrapped.weight_factors == (4 / 7, 2 / 7, 1 / 7, 0.0)  # nnU-Net's own
    Objective(wrapped, PAPER.student.training, **settings)
    assert wrapped.weight_factors == pytest.approx([weight / 15 for weight in (8, 4, 2, 1)])


def test_all_true_cases_are_learned_from() -> None:
    cases = tuple(
        Case(f"case_{n}", Path("image.nii.gz"), Path("label.nii.gz"), frozenset(flare23().organs))
        for n in range(20)
    )
    task = student_task(
        Cohort(flare23(), cases), PAPER.student, organs_only=True, pseudo={"case_3": ("liver",)}
    )
    (split,) = make_splits(task, [case.id for case in cases])
    assert len(split.train) == 20


def test_every_difference_is_on_the_page() -> None:
    page = (ROOT / "docs" / "explanation" / "paper.md").read_text("utf-8")
    for figure in ("5,649,208", "30,713,158", "31,205,254", "134 GFLOP", "64×192×192"):
        assert figure in page, figure
    teacher = count(PAPER.teachers.network, PAPER.teachers.data.patch, classes=14)[1]
    assert f"{teacher:.0f} GFLOP" in page


@pytest.mark.parametrize(
    ("recipe", "spacing", "patch", "epochs"),
    [
        (PAPER.teachers, [2.5, 0.86, 0.86], [48, 192, 192], 1000),
        (PAPER.student, [4.0, 1.2, 1.2], [32, 128, 192], 1500),
        (PAPER.tumor, [4.0, 1.2, 1.2], [32, 128, 192], 1500),
    ],
)
def test_the_plans_are_the_papers_table(
    recipe: Recipe, spacing: list[float], patch: list[int], epochs: int
) -> None:
    plans = make_plans(recipe, FINGERPRINT, dataset_name="Dataset001_x")
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["spacing"] == spacing
    assert configuration["patch_size"] == patch
    assert configuration["batch_size"] == 2
    assert configuration["normalization_schemes"] == ["CTNormalization"]
    assert configuration["resampling_fn_data_kwargs"]["order"] == 3
    assert configuration["resampling_fn_seg_kwargs"] == {
        "is_seg": True,
        "order": 0,
        "order_z": 0,
        "force_separate_z": None,
    }
    training = recipe.training
    assert (training.epochs, training.iterations, training.optimizer, training.momentum) == (
        epochs,
        250,
        "sgd",
        0.99,
    )
    assert (training.lr, training.schedule, training.class_weights) == (0.01, "poly", "equal")
    assert (training.deep_supervision, training.coarsest_loss) == (True, True)
    assert configuration["batch_dice"] is True
    if recipe is not PAPER.teachers:  # of these, each fold holds out its own cases
        assert training.held_out == 0.0
    assert recipe.network.features[0] == (32 if recipe is PAPER.teachers else 16)


def test_the_augmentations_as_built() -> None:
    shared = [
        "Rotation in slices, p 0.2, -180 to 180°",
        "Scaling, p 0.2, 0.7 to 1.4",
        "Elastic, p 0.2, up to 4 voxels",
    ]
    brightness = "MultiplicativeBrightness, p 0.15, 0.75 to 1.25"
    gamma = ("Gamma, p 0.1, 0.7 to 1.5, inverted", "Gamma, p 0.3, 0.7 to 1.5")
    assert list(built_augmentations(PAPER.student)) == [*shared, brightness, *gamma]
    assert list(built_augmentations(PAPER.teachers)) == [
        *shared,
        "GaussianNoise, p 0.1, 0 to 0.1",
        brightness,
        *gamma,
        "SimulateLowResolution, p 0.25, 0.5 to 1",
    ]


def test_weights_start_as_he_has_them() -> None:
    torch.manual_seed(0)
    built = architecture(PAPER.student.network)
    network = get_network_from_plans(
        built["network_class_name"], built["arch_kwargs"], built["_kw_requires_import"], 1, 14
    )
    checked = 0
    for module in network.modules():
        if (
            isinstance(module, torch.nn.Conv3d)
            and module.kernel_size == (3, 3, 3)
            and module.in_channels >= 32
        ):
            expected = np.sqrt(
                2 / (1 + 0.01**2) / (module.in_channels * 27)
            )  # leaky ReLU of slope 0.01
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert module.bias is not None
            assert not module.bias.any()
            checked += 1
    assert checked > 8
