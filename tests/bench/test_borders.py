"""Which shift of a class's logits puts its border right."""

from __future__ import annotations

import numpy as np
import pytest

from bench.borders import SHIFTS, curve, is_whole, margin, summary


def ball(radius: float) -> np.ndarray:
    z, y, x = np.mgrid[-20:21, -20:21, -20:21]
    return np.asarray(radius - np.sqrt(z * z + y * y + x * x), np.float32)


def test_a_border_that_lies_too_far_out_is_better_by_the_shift_that_moves_it_back() -> None:
    scores, volume = curve(ball(11.0), ball(10.0) > 0)
    assert SHIFTS[int(np.argmax(scores))] == -1.0
    assert max(scores) == 1.0
    assert volume == pytest.approx(1.1**3, rel=0.03)


def test_voxels_on_which_the_makers_disagree_do_not_count() -> None:
    truth, counted = ball(10.0) > 0, (ball(10.0) > 0) | (ball(14.0) <= 0)
    scores, volume = curve(ball(12.0), truth, counted=counted)
    assert scores[SHIFTS.index(0.0)] == volume == 1.0


def test_the_margin_is_over_the_best_other_class_and_nothing_is_gained_where_no_window_ran() -> (
    None
):
    logits = np.zeros((3, 1, 1, 2), np.float32)
    logits[:, 0, 0, 0] = 1, 4, 2
    logits[:, 0, 0, 1] = 1, 0, 0
    assert margin(logits, 1)[0, 0].tolist() == [2.0, -np.inf]


def test_an_organ_that_the_scan_cuts_or_a_fragment_is_not_whole() -> None:
    mask = np.zeros((4, 5, 5), bool)
    mask[1:3] = True
    assert is_whole(mask, voxel_ml=1.0, least_ml=10.0)
    assert not is_whole(mask, voxel_ml=0.1, least_ml=10.0)
    mask[3] = True
    assert not is_whole(mask, voxel_ml=1.0, least_ml=10.0)


def test_the_summary_counts_the_scans_that_a_shift_improves() -> None:
    low, high = [0.5] * len(SHIFTS), [0.5] * len(SHIFTS)
    low[0], high[0], high[1] = 0.6, 0.7, 0.4
    row = summary([(low, 1.0), (high, 1.2)])
    assert row["better"] == [2, *[0] * (len(SHIFTS) - 1)]
    assert row["dsc"][:2] == [0.65, 0.45]  # type: ignore[index]
    assert row["volume"] == pytest.approx(1.1)
