"""Which real CT is learned from and tested on, and how two models' labels are scored by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.protocol import networks, steps
from bench.real_ct import LABELED, TESTED, Try, agreed_scores
from nnstudent.errors import InputError
from nnstudent.progress import silent
from nnstudent.taxonomy import flare23

LIVER, SPLEEN = flare23()["liver"].id, flare23()["spleen"].id


def attempt(data: Path, work: Path) -> Try:
    return Try(data, TESTED[0], work, 120, 1, silent)


def test_the_test_scan_is_learned_from_by_nobody_and_the_rest_lose_their_labels(
    tmp_path: Path,
) -> None:
    for name in (*LABELED, *TESTED, "lidc_0314"):
        (tmp_path / name).mkdir()
    (tmp_path / "ts_dicom20" / "series").mkdir()
    cohort = attempt(tmp_path, tmp_path / "work").listed
    assert [case.id for case in cohort.test()] == [TESTED[0]]
    train = {case.id: case for case in cohort if case.role == "train"}
    assert set(train) == {*LABELED, TESTED[1], "lidc_0314"}
    assert {id for id, case in train.items() if case.label is not None} == set(LABELED)
    assert "esophagus" not in train["ts_example"].annotated
    assert train["ts_dicom20"].annotated == set(flare23().organs)
    assert train["ts_dicom20"].image.name == "series"
    (tmp_path / TESTED[1]).rmdir()
    with pytest.raises(InputError, match=f"lacks {TESTED[1]}"):
        _ = attempt(tmp_path, tmp_path / "work").listed


def test_both_arms_learn_for_the_same_number_of_steps(tmp_path: Path) -> None:
    preset = networks()
    for recipe in (preset.student, preset.teachers):
        short = attempt(tmp_path, tmp_path).recipe(recipe)
        assert steps(short) == 100  # whole epochs of 50
        assert short.training.partial == "marginal"


def test_only_voxels_on_which_both_models_agree_count() -> None:
    first = np.zeros((6, 10, 10), np.uint8)
    first[1:5, :, :4] = LIVER
    second = first.copy()
    second[1:5, :, 3] = 0  # one model's liver is smaller
    predicted = first.copy()
    predicted[1:5, :, 4] = LIVER  # wrong by both
    predicted[1:5, :5, 0] = 0  # missed
    scores = agreed_scores(predicted, first, second, flare23(), voxel_ml=1.0)
    right, wrong = 4 * 10 * 3, 4 * 10
    missed = 4 * 5
    both = right - missed
    assert scores == {"liver": pytest.approx(2 * both / (both + wrong + right), abs=1e-5)}
    # As good in the disputed column, whatever is said there.
    predicted[1:5, :, 3] = SPLEEN
    assert agreed_scores(predicted, first, second, flare23(), voxel_ml=1.0) == scores


@pytest.mark.parametrize(("first_slice", "voxel_ml"), [(0, 1.0), (1, 0.01)])
def test_cut_organs_and_fragments_are_left_out(first_slice: int, voxel_ml: float) -> None:
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[first_slice:4, :4, :4] = SPLEEN
    assert agreed_scores(labels, labels, labels, flare23(), voxel_ml=voxel_ml) == {}
