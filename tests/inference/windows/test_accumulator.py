"""The sums of the windows' scores."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.windows.accumulator import gaussian
from nnstudent.inference.windows.sliding import slide


@pytest.mark.parametrize("patch", [(16, 16, 16), (32, 128, 192), (7, 48, 33)])
def test_weights_are_nnunets(patch):
    stock = pytest.importorskip(
        "nnunetv2.inference.sliding_window_prediction",
        reason="compares with nnU-Net, which is not installed",
    )
    import torch

    expected = (
        stock.compute_gaussian(
            patch, sigma_scale=1 / 8, value_scaling_factor=10, device=torch.device("cpu")
        )
        .float()
        .numpy()
    )
    weight = gaussian(patch)
    np.testing.assert_array_equal(weight, expected)
    assert weight.min() > 0
    assert weight.max() == 10


def test_what_no_window_saw_is_background():
    def corner(canvas, run_window):
        run_window((0, 0, 0))

    logits, ran = slide(
        np.zeros((8, 8, 16), np.float32),
        lambda w: np.stack([w, w + 5]),
        patch=(8, 8, 8),
        classes=2,
        planner=corner,
    )
    assert ran == 1
    assert (logits[:, :, :, :8].argmax(0) == 1).all()
    assert (logits[:, :, :, 8:].argmax(0) == 0).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(broken):
    with pytest.raises(InputError, match="not finite"):
        slide(
            np.zeros((8, 8, 8), np.float32),
            lambda w: np.full((2, *w.shape), broken, np.float32),
            patch=(8, 8, 8),
            classes=2,
        )


def test_logits_that_a_planner_does_not_keep_are_not_summed():
    def planner(canvas, run_window):
        run_window((0, 0, 0), keep=lambda logits: False)

    logits, ran = slide(
        np.zeros((8, 8, 8), np.float32),
        lambda w: np.stack([w, w + 5]),
        patch=(8, 8, 8),
        classes=2,
        planner=planner,
    )
    assert ran == 1
    assert (logits.argmax(0) == 0).all()
