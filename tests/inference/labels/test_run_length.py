from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnstudent.inference.labels.run_length import connected, find_runs, paint, voxel_counts

label_maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.integers(0, 3),
    fill=st.just(0),
)


def drawn(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One value a run, put back where the runs lie."""
    runs = find_runs(labels)
    out = np.zeros(labels.size, np.int64)
    for start, stop, value in zip(runs.start, runs.stop, values, strict=True):
        out[start:stop] = value
    return out.reshape(labels.shape)


@given(labels=label_maps)
def test_runs_are_the_label_map(labels):
    runs = find_runs(labels)
    np.testing.assert_array_equal(drawn(labels, runs.label), labels)
    faces = np.ones(labels.shape, bool)
    faces[1:-1, 1:-1, 1:-1] = False
    for start, stop, at_border in zip(runs.start, runs.stop, runs.at_border, strict=True):
        assert faces.ravel()[start:stop].any() == at_border
    assert np.array_equal(voxel_counts(labels), np.bincount(labels.ravel(), minlength=256))


@given(labels=label_maps, turn=st.permutations((0, 1, 2)))
def test_pieces_are_those_of_scipy_whatever_the_order_of_memory(labels, turn):
    labels = labels.transpose(turn)
    piece = drawn(labels, connected(find_runs(labels)) + 1)
    count = 0
    for id in range(1, 4):
        expected, found = ndimage.label(labels == id, np.ones((3, 3, 3)))
        pairs = {(a, b) for a, b in zip(expected.ravel(), piece.ravel(), strict=True) if a}
        assert len(pairs) == found == len({b for _, b in pairs})
        count += found
    assert piece.max() == count


def test_what_hangs_together_through_another_label_is_one_piece():
    labels = np.zeros((1, 3, 7), np.uint8)
    labels[0, 1] = [1, 1, 3, 1, 0, 1, 2]
    of = {through: connected(find_runs(labels), through=through).tolist() for through in ((), (3,))}
    assert len(set(of[()])) == 5
    first, lesion, second, third, other = of[(3,)]
    assert first == second
    assert len({first, lesion, third, other}) == 4


@given(labels=label_maps, seed=st.integers(0, 9))
def test_painting_changes_the_runs_that_differ(labels, seed):
    runs = find_runs(labels)
    label = np.random.default_rng(seed).integers(0, 4, len(runs.label)).astype(np.uint8)
    onto = labels.copy()
    paint(runs, label, onto)
    np.testing.assert_array_equal(onto, drawn(labels, label))


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1)])
def test_an_empty_label_map_has_no_runs(shape):
    runs = find_runs(np.zeros(shape, np.uint8))
    assert len(runs.label) == len(connected(runs)) == 0
