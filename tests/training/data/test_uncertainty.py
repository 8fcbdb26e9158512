from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import GeometryError, InputError
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.training.data.dataset import prepare
from nnstudent.training.data.uncertainty import nearest, uncertainty_files
from nnstudent.training.provenance import task_source
from nnstudent.training.recipe import Recipe
from nnstudent.training.study import study, study_task
from nnstudent.volume import Grid, Volume
from tests.training.conftest import tiny_recipe

CASES = ("a", "b", "c", "d")


def fused(balls: Cohort, folder: Path, *, uncertain: tuple[str, ...] = ("c", "d")) -> Path:
    """A fused cohort in which the spot of two cases is an uncertain pseudo-label.

    Its runner-up is the ball around it, and its uncertainty varies along x.
    """
    cases = tuple(case for case in balls if case.id in CASES)
    write_cohort(folder, replace(balls, cases=cases))
    rows = [json.dumps({"case": id, "class": "spot", "origin": "pseudo"}) for id in ("c", "d")]
    (folder / "ledger.jsonl").write_text("\n".join(rows))
    for id in uncertain:
        case = balls[id]
        assert case.label is not None
        labels = read_labels(case.label)
        spot = labels.array == 20
        probability = np.where(spot, 130 + 4 * np.arange(labels.array.shape[2]), 255).astype(
            np.uint8
        )
        write_labels(folder / "probability" / f"{id}.nii.gz", Volume(probability, labels.grid))
        write_labels(
            folder / "runner_up" / f"{id}.nii.gz",
            Volume(np.where(spot, 7, 0).astype(np.uint8), labels.grid),
        )
    return folder


def recipe(**training: object) -> Recipe:
    settings = {
        "distill": 0.5,
        "partial": "marginal",
        "label_interpolation": "nearest",
        "held_out": 0.0,
    } | training
    return tiny_recipe(**settings)


def test_runner_up_and_uncertainty_are_channels_that_lie_on_the_labels(
    balls: Cohort, tmp_path: Path
) -> None:
    made = recipe()
    # The images' own spacing: nothing is resampled, so channels can be compared voxel by voxel.
    assert made.data.spacing_mm == (5.0, 4.0, 4.0)
    task = study_task(fused(balls, tmp_path / "fused"), made)
    assert set(task.uncertainty) == {"c", "d"}
    prepared = prepare(task, tmp_path / "work", task_source(task, tmp_path / "hashes.json"))
    folder = prepared.work / "preprocessed" / task.dataset_name / "nnStudentPlans_3d_fullres"
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    cases = nnUNetDatasetBlosc2(str(folder), list(CASES))
    for id in CASES:
        _, targets, _, _ = cases.load_case(id)
        labels, runner_up, uncertainty = targets[:]
        assert not (uncertainty[labels != 3]).any()
        if id in ("c", "d"):  # axes are z, y, x of the network; x may be reversed
            spot = labels == 3
            assert (runner_up[spot] == 1).all()
            known = uncertainty[spot]
            assert known.min() > 0
            assert len(np.unique(known)) > 1
            across = [
                np.unique(uncertainty.take(x, axis=2)[spot.take(x, axis=2)]).size
                for x in range(uncertainty.shape[2])
            ]
            assert set(across) <= {0, 1}  # constant in a plane of x, as in the file
        else:
            assert not runner_up.any()
            assert not uncertainty.any()


def test_a_runner_up_that_is_not_learned_leaves_the_label_certain(
    balls: Cohort, tmp_path: Path
) -> None:
    made = recipe()
    task = study_task(fused(balls, tmp_path / "fused"), made, organs_only=True)
    case = balls["c"]
    folder = tmp_path / "fused" / "runner_up"
    whole = read_labels(folder / "c.nii.gz")
    write_labels(
        folder / "c.nii.gz", Volume(np.where(whole.array == 7, 20, 0).astype(np.uint8), whole.grid)
    )
    files = uncertainty_files(task, case, tmp_path / "raw")
    assert files is not None
    assert not read_labels(files[1]).array.any()
    write_labels(
        folder / "c.nii.gz",
        Volume(np.zeros((2, 2, 2), np.uint8), Grid((2, 2, 2), read_grid(case.image).affine)),
    )
    with pytest.raises(GeometryError, match="label and select the case again"):
        uncertainty_files(task, case, tmp_path / "raw")


def test_a_student_that_distils_learns_something_else(balls: Cohort, tmp_path: Path) -> None:
    def weights(made: Recipe, name: str) -> dict[str, torch.Tensor]:
        model = study(fused(balls, tmp_path / name), tmp_path / f"{name}_student", made, threads=1)
        curves = json.loads((model / "fold_0" / "progress.json").read_text())
        assert all(math.isfinite(value) for value in curves["train_loss"])
        learned: dict[str, torch.Tensor] = torch.load(
            model / "fold_0" / "checkpoint_final.pth", weights_only=True
        )["network_weights"]
        return learned

    off = weights(recipe(distill=0.0), "off")
    on = weights(recipe(distill=1.0), "on")
    assert any(not torch.equal(on[key], off[key]) for key in off)
    more = weights(recipe(distill=0.5, copy_paste=1.0, cutmix=0.5), "mixed")
    assert set(more) == set(off)


@given(shape=st.tuples(*[st.integers(1, 6)] * 3), factor=st.integers(1, 3))
def test_the_nearest_voxel(shape: tuple[int, int, int], factor: int) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    fine = nearest(array, [size * factor for size in shape])
    assert np.array_equal(fine, np.kron(array, np.ones((factor,) * 3, int)))
    assert np.array_equal(nearest(fine, shape), array) or factor % 2 == 0


def test_off_nothing_is_read_and_nothing_differs(balls: Cohort, tmp_path: Path) -> None:
    off = recipe(distill=0.0)
    with_maps, without = (
        task_source(
            study_task(fused(balls, tmp_path / name, uncertain=uncertain), off),
            tmp_path / f"{name}.json",
        )
        for name, uncertain in (("with", ("c", "d")), ("without", ()))
    )
    assert with_maps == without
    assert "distill" not in with_maps["recipe"]["training"]
    assert task_source(
        study_task(tmp_path / "with", recipe()), tmp_path / "on.json"
    )[  # the key on disk
        "doubt"
    ].keys() == {"c", "d"}


def test_what_cannot_be_is_refused(balls: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run label --probability and select again"):
        study_task(fused(balls, tmp_path / "fused", uncertain=()), recipe())
    with pytest.raises(InputError, match="distill = 2"):
        recipe(distill=2.0)
    with pytest.raises(InputError, match='set "nearest"'):
        recipe(label_interpolation="linear")
