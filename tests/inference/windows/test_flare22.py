from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.windows.flare22 import flare22, three
from nnstudent.inference.windows.sliding import starts_along
from tests.inference.oracle import Oracle

PATCH = (16, 24, 24)
TUBE = 2


def run(truth):
    oracle = Oracle(truth, PATCH, classes=4)
    return oracle.segment(np.zeros(truth.shape, np.float32), flare22(tubes=[TUBE])), oracle.starts


def test_y_and_x_have_three_starts_however_large_the_image():
    assert three(40, 24) == (0, 8, 16)
    assert three(48, 24) == (0, 12, 24)
    assert three(100, 24) == (26, 38, 50)
    assert three(24, 24) == (0, 0, 0)


def test_organs_in_the_centre_bring_all_nine_windows():
    truth = np.zeros((16, 48, 48), np.uint8)
    truth[:, 16:32, 16:32] = 1
    found, starts = run(truth)
    assert len(starts) == len(set(starts)) == 9
    assert starts[0] == (0, 12, 12)
    np.testing.assert_array_equal(found, truth)


def test_few_voxels_are_thrown_away_and_the_next_z_is_skipped():
    truth = np.zeros((40, 48, 48), np.uint8)
    truth[:16, 20:27, 20:27] = 1  # 784 voxels
    found, starts = run(truth)
    z = starts_along(40, PATCH[0])
    assert [start[0] for start in starts] == z[::2]
    assert not found.any()


def test_a_tube_brings_only_the_neighbour_whose_border_it_touches():
    truth = np.zeros((16, 48, 48), np.uint8)
    truth[:, 4:24, 20:28] = TUBE  # crosses the first row of the centre window only
    found, starts = run(truth)
    assert starts == [(0, 12, 12), (0, 0, 12)]
    np.testing.assert_array_equal(found, truth)
    truth[truth == TUBE] = 1
    assert len(run(truth)[1]) == 9
    inner = np.zeros((16, 48, 48), np.uint8)
    inner[:, 18:30, 18:30] = TUBE
    assert run(inner)[1] == [(0, 12, 12)]


@pytest.mark.parametrize("corner", [0, 90])
def test_what_lies_off_the_centre_of_a_large_image_is_never_seen(corner):
    truth = np.zeros((16, 100, 100), np.uint8)
    truth[:, 40:60, 40:60] = 1
    truth[:, corner : corner + 10, 45:55] = 3
    found, _ = run(truth)
    assert (found == 1).any()
    assert not (found == 3).any()


def test_an_image_of_one_patch_runs_once():
    truth = np.ones(PATCH, np.uint8)
    found, starts = run(truth)
    assert starts == [(0, 0, 0)]
    np.testing.assert_array_equal(found, truth)
