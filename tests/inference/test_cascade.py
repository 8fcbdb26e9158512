"""Where a cascade's second stage looks, and what its word changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.inference.cascade import box_around, decide
from nnstudent.volume import Grid, Volume

sizes = st.tuples(*[st.integers(4, 24)] * 3)
spacings = st.tuples(*[st.floats(0.5, 5)] * 3)


@given(data=st.data(), shape=sizes, spacing=spacings, near=st.floats(0, 30), least=st.tuples(*[st.floats(0, 60)] * 3))
def test_the_box_holds_all_that_was_found_with_its_margin(data, shape, spacing, near, least):
    labels = np.zeros(shape, np.uint8)
    spots = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), min_size=1, max_size=4))
    for number, spot in enumerate(spots):
        labels[spot] = (3, 5)[number % 2]
    box = box_around(labels, {3, 5}, spacing_mm=spacing, near_mm=near, least_mm=least)
    assert box is not None
    for axis, part in enumerate(box):
        assert 0 <= part.start < part.stop <= shape[axis]
        first, last = (edge(spot[axis] for spot in spots) for edge in (min, max))
        assert part.start == 0 or (first - part.start) * spacing[axis] >= near
        assert part.stop == shape[axis] or (part.stop - 1 - last) * spacing[axis] >= near
        assert part.stop - part.start == shape[axis] or (part.stop - part.start) * spacing[axis] >= least[axis] - 1e-6


def test_there_is_no_box_where_nothing_was_found():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 7
    assert box_around(labels, {3, 5}, spacing_mm=(1, 1, 1), near_mm=5, least_mm=(0, 0, 0)) is None


def test_in_the_box_the_second_stage_decides_on_its_classes():
    first = np.zeros((4, 6, 6), np.uint8)
    first[1, 1, :] = 3  # of the second stage's; confirmed in part
    first[2, 2, 2:4] = 9  # of another class; what the second stage finds there lies over it
    first[3, 5, 5] = 5  # of the second stage's, but not in the box
    box = (slice(0, 3), slice(0, 4), slice(1, 5))
    said = np.zeros((3, 4, 4), np.uint8)
    said[1, 1, 0] = 3
    said[2, 2, 1] = 5
    decide(first, box, said, {3, 5})
    expected = np.zeros_like(first)
    expected[1, 1, [0, 1, 5]] = 3
    expected[2, 2, 2:4] = (5, 9)
    expected[3, 5, 5] = 5
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize("turned", [False, True])
def test_a_part_lies_where_it_lay(turned):
    affine = np.array([[0, -2, 0, 10], [1.5, 0, 0.2, 20], [0, 0, 3, 30], [0, 0, 0, 1]]) if turned else np.diag([2.0, 1.5, 3.0, 1.0])
    whole = Volume(np.arange(60).reshape(3, 4, 5), Grid((3, 4, 5), affine))
    part = whole.cropped((slice(1, 3), slice(2, 4), slice(0, 4)))
    assert part.array[1, 0, 3] == whole.array[2, 2, 3]
    np.testing.assert_allclose(part.grid.affine @ [3, 0, 1, 1], whole.grid.affine @ [3, 2, 2, 1])
    assert part.grid.shape == (2, 2, 4)
