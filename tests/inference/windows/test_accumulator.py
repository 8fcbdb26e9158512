"""The sums of the windows' scores."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.windows.accumulator import gaussian
from nnstudent.inference.windows.sliding import slide, stream


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


def test_a_window_holds_nothing_once_the_next_one_runs():
    held, sizes = [], []

    def network(window):
        sizes.append([one.whole().size for one in held])
        return np.stack([window, window])

    def planner(canvas, run_window):
        for window in (run_window((0, 0, x)) for x in (0, 4, 8)):
            held.append(window)  # noqa: PERF402  # the network looks at it meanwhile

    slide(np.ones((8, 8, 16), np.float32), network, patch=(8, 8, 8), classes=2, planner=planner)
    assert sizes == [[], [0], [0, 0]]
    assert held[-1].whole().size == 0


def test_windows_are_compared_where_they_overlap():
    seen = []

    def compare(before, window):
        seen.append((before.shape, float(before[1].max()), float(window[1].max())))

    stream(
        np.ones((16, 16, 24), np.float32),
        lambda w: np.stack([0 * w, w]),
        lambda logits, first: None,
        patch=(16, 16, 16),
        classes=2,
        compare=compare,
    )
    ((shape, before, window),) = seen  # of two windows, the second is compared with the first
    assert shape[0] == 2
    assert shape[3] < 8  # not at the borders of the windows
    assert before > 0
    assert window == 1
