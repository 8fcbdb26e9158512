from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.training.augment.cutmix import CutMix, random_box
from nnstudent.training.study import study
from tests.training.conftest import tiny_recipe

SHAPE, STEP = (8, 12, 16), (2, 4, 4)


def window(value: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """An image of one value, and labels of the same at two resolutions."""
    return torch.full((1, 1, *SHAPE), float(value)), [
        torch.full((1, 1, *size), value) for size in (SHAPE, (4, 3, 4))
    ]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), share=st.floats(0.01, 1.0))
def test_a_box_lies_inside_and_on_the_coarsest_voxels(seed: int, share: float) -> None:
    np.random.seed(seed)  # noqa: NPY002
    for part, size, unit in zip(random_box(SHAPE, STEP, share=share), SHAPE, STEP, strict=True):
        assert 0 <= part.start < part.stop <= size
        assert part.start % unit == part.stop % unit == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999))
def test_image_and_labels_come_from_the_same_window_at_each_resolution(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002
    mix = CutMix(1.0, STEP)
    mix(*window(3), ["whole"])
    image, (fine, coarse) = window(5)
    mix(image, [fine, coarse], ["whole"])
    assert torch.equal(image.long(), fine)
    assert torch.equal(coarse, fine[:, :, ::2, ::4, ::4])
    assert set(fine.unique().tolist()) == {3, 5}
    again, labels = window(7)
    mix(again, labels, ["whole"])
    assert set(again.unique().tolist()) == {
        5.0,
        7.0,
    }  # of what was mixed itself, the window as it was drawn is kept


def test_windows_that_leave_other_classes_open_are_not_mixed() -> None:
    mix = CutMix(1.0, STEP)
    mix(*window(3), ["liver only"])
    image, labels = window(5)
    mix(image, labels, ["whole"])
    assert image.unique().tolist() == [5.0]


def test_off_it_mixes_nothing_and_p_is_a_probability() -> None:
    assert tiny_recipe().training.cutmix == 0
    with pytest.raises(InputError, match="cutmix = 2"):
        tiny_recipe(cutmix=2.0)


def test_a_student_of_mixed_profiles_trains_with_it(balls: Cohort, tmp_path: Path) -> None:
    recipe = tiny_recipe(partial="marginal", cutmix=1.0, epochs=1)
    write_cohort(tmp_path / "fused", balls)
    (tmp_path / "fused" / "ledger.jsonl").write_text("")
    model = study(tmp_path / "fused", tmp_path / "student", recipe)
    curves = json.loads((model / "fold_0" / "progress.json").read_text())
    assert all(math.isfinite(value) for value in curves["train_loss"])
