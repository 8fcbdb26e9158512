from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.inference.picture.choose import (
    body_box,
    choose_plane,
    choose_slices,
    measure_sections,
)
from nnstudent.volume import Grid, Volume


def volume(array: np.ndarray, mm: tuple[float, float, float] = (5.0, 2.0, 2.0)) -> Volume:
    return Volume(array, Grid(array.shape, np.diag([*mm[::-1], 1.0])))


def test_sections_are_counted_per_plane():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 2, 1:5] = 3
    labels[3, 0:2, 0:2] = 9
    sections = measure_sections(volume(labels))
    assert (sections.ids, sections.voxels) == ((3, 9), (8, 4))
    assert sections.axial.tolist() == [[0, 4, 4, 0], [0, 0, 0, 4]]
    assert sections.coronal.tolist() == [[0, 0, 8, 0, 0], [2, 2, 0, 0, 0]]
    assert sections.boxes[0] == np.s_[1:3, 2:3, 1:5]
    assert sections.box() == np.s_[1:4, 0:3, 0:5]
    nothing = measure_sections(volume(np.zeros((4, 5, 6), np.uint8)))
    assert (nothing.ids, nothing.box()) == ((), None)
    assert nothing.axial.shape == (0, 4)


@given(
    spans=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), min_size=1, max_size=14),
    most=st.integers(1, 6),
)
def test_every_class_is_on_a_chosen_slice_wherever_that_is_possible(spans, most):
    areas = np.zeros((len(spans), 60), int)
    for row, (first, length) in zip(areas, spans, strict=True):
        row[first : first + length] = 50
    chosen = choose_slices(areas, most=most)
    assert len(chosen) == len(set(chosen)) == most
    assert chosen == sorted(chosen)
    if stabbed(spans) <= most - 3:  # greedy covers need a few more than the best one
        assert areas[:, chosen].any(axis=1).all()


def stabbed(spans: list[tuple[int, int]]) -> int:
    """The smallest number of slices that meets every span."""
    count, last = 0, -1
    for first, stop in sorted(((a, min(a + n, 60)) for a, n in spans), key=lambda span: span[1]):
        if first > last:
            count, last = count + 1, stop - 1
    return count


def test_one_organ_is_shown_from_top_to_bottom():
    areas = np.zeros((1, 100), int)
    areas[0, 20:80] = 100
    chosen = choose_slices(areas, most=6)
    assert 20 <= chosen[0] < 32
    assert 68 <= chosen[-1] < 80
    assert min(np.diff(chosen)) >= 5


def test_few_slices_and_no_organ():
    assert choose_slices(np.ones((2, 5), int), most=6) == [0, 1, 2, 3, 4]
    chosen = choose_slices(np.zeros((0, 90), int), most=6)
    assert len(chosen) == 6
    assert min(np.diff(chosen)) >= 10, "spread over the scan"


def test_the_plane_shows_most_classes():
    areas = np.array([[9, 5, 0, 0], [0, 8, 9, 0], [0, 1, 0, 0]])
    assert choose_plane(areas) == 1
    assert choose_plane(np.zeros((0, 7), int)) == 3


def test_the_box_holds_the_body_and_leaves_out_the_table():
    image = np.full((6, 100, 100), -1000, np.int16)
    image[:, 30:80, 20:70] = 40
    image[:, 5:8, :] = 100  # a table, 6 mm thin
    z, y, x = body_box(volume(image), around=None)
    assert z == slice(0, 6)
    assert 20 <= y.start <= 30
    assert 80 <= y.stop <= 90
    assert 10 <= x.start <= 20
    z, y, x = body_box(volume(image), around=np.s_[0:2, 10:20, 40:95])
    assert y.start <= 10
    assert x.stop >= 95


def test_the_box_of_air_or_of_body_alone_is_everything():
    for value in (-1000, 40):
        image = np.full((3, 40, 50), value, np.int16)
        assert body_box(volume(image), around=None) == np.s_[0:3, 0:40, 0:50]
