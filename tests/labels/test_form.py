"""The form of a class, by figures that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.labels.form import measure_form
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def form(array, image=None):
    grid = Grid(array.shape, np.diag([2.0, 2.0, 5.0, 1.0]))
    volume = None if image is None else Volume(image, grid)
    forms = measure_form(
        Volume(array, grid), taxonomy=flare23(), image=volume, classes=("liver", "spleen")
    )
    assert "spleen" not in forms
    return forms["liver"]


def block() -> np.ndarray:
    array = np.zeros((20, 40, 40), np.uint8)
    array[5:15, 10:30, 10:30] = 1
    return array


def test_a_block_is_whole_and_has_flat_ends():
    found = form(block())
    assert (found.loose, found.holes, found.slice_holes, found.missing) == (0, 0, 0, 0)
    assert (found.jump, found.flat, found.misfit) == (0, 1, None)


def test_what_is_missing_is_counted():
    array = block()
    array[9:11] = 0
    found = form(array)
    assert found.missing == pytest.approx(0.2)
    assert found.jump == 1
    array = block()
    array[8:10, 15:20, 15:20] = 0
    found = form(array)
    assert (found.holes, found.slice_holes) == pytest.approx((50 / 3950, 50 / 3950))
    array[:, 15:20, 15:20] = 0  # a channel is a hole in slices only
    found = form(array)
    assert (found.holes, found.slice_holes) == (0, pytest.approx(25 / 375))


def test_loose_pieces_count_by_their_distance():
    array = block()
    array[0, 0, 0] = 1
    far = form(array).loose
    assert far == pytest.approx(1 / 4001, rel=0.2)
    array = block()
    array[10, 20, 31] = 1
    near = form(array).loose
    assert near == pytest.approx(far * 4 / 30, rel=0.2)


def test_an_end_at_the_border_is_not_flat():
    array = block()
    array[:5, 10:30, 10:30] = 1
    array[12:15] = 0
    array[12, 15:25, 15:25] = 1
    assert form(array).flat == pytest.approx(0.25)


@pytest.mark.parametrize("by", [-2, -1, 0, 1, 2])
def test_a_surface_fits_where_the_image_changes(by):
    image = np.where(block() == 1, 120, -80).astype(np.int16)
    array = np.zeros_like(block())
    array[5 - by : 15 + by, 10 - by : 30 + by, 10 - by : 30 + by] = 1
    misfit = form(array, image).misfit
    assert misfit == 0 if by == 0 else misfit > 0.9
