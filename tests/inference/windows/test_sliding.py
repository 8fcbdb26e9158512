from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.inference.windows.sliding import dense_starts, pad, padded_shape, slide

sizes = st.tuples(*[st.integers(1, 60)] * 3)
patches = st.tuples(*[st.integers(4, 24)] * 3)


@settings(deadline=None)
@given(shape=sizes, patch=patches)
def test_every_voxel_lies_in_a_window_and_no_window_sticks_out(shape, patch):
    padded, _ = pad(np.zeros(shape, np.float32), patch)
    seen = np.zeros(padded.shape, bool)
    for start in dense_starts(padded.shape, patch):
        assert all(
            s >= 0 and s + p <= n for s, p, n in zip(start, patch, padded.shape, strict=True)
        )
        seen[tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))] = True
    assert seen.all()


@settings(deadline=None)
@given(shape=sizes, patch=patches, step=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_windows_are_nnunets(shape, patch, step):
    stock = pytest.importorskip(
        "nnunetv2.inference.sliding_window_prediction",
        reason="compares with nnU-Net, which is not installed",
    )
    shape = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    steps = stock.compute_steps_for_sliding_window(shape, patch, step)
    expected = [(z, y, x) for z in steps[0] for y in steps[1] for x in steps[2]]
    assert dense_starts(shape, patch, step=step) == expected


@settings(deadline=None)
@given(shape=sizes, patch=patches)
def test_padding_is_nnunets(shape, patch):
    padding = pytest.importorskip(
        "acvl_utils.cropping_and_padding.padding",
        reason="compares with nnU-Net's padding, which is not installed",
    )
    image = np.random.default_rng(0).random(shape, np.float32)
    expected, place = padding.pad_nd_image(image, patch, "constant", {"constant_values": 0}, True)
    padded, where = pad(image, patch)
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(padded[where], expected[place])


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(3, 30)] * 3))
def test_a_pointwise_network_gives_the_same_window_by_window_as_at_once(shape):
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def network(window):
        return np.stack([window, 2 * window + 1, -window])

    logits, ran = slide(image, network, patch=(8, 10, 12), classes=3)
    assert ran == len(dense_starts(padded_shape(shape, (8, 10, 12)), (8, 10, 12)))
    np.testing.assert_allclose(logits, network(image), atol=1e-5)


def test_progress_counts_the_windows():
    told = []
    slide(
        np.zeros((8, 8, 16), np.float32),
        lambda w: np.stack([w, w]),
        patch=(8, 8, 8),
        classes=2,
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told == [("windows", k, 3) for k in (1, 2, 3)]


def test_progress_ends_with_all_done_if_windows_were_skipped():
    told = []
    slide(
        np.zeros((8, 8, 16), np.float32),
        lambda w: np.stack([w, w]),
        patch=(8, 8, 8),
        classes=2,
        planner=lambda canvas, run_window: run_window((0, 0, 0)),
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told == [("windows", 1, 3), ("windows", 3, 3)]
