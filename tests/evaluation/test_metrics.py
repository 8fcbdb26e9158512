from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnstudent.errors import GeometryError
from nnstudent.evaluation import metrics
from nnstudent.evaluation.metrics import bounding_boxes, dsc, enclosing_box, nsd

SPACINGS = st.one_of(
    st.floats(0.3, 5.0),
    st.sampled_from(
        [0.1, 0.3, 0.5, 0.6, 0.7, 0.78125, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 5.0]
    ),  # distances that tie
)
TOLERANCES = st.one_of(st.floats(0.0, 9.0), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0]))


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Noise, blobs, and blobs shifted or eroded, so that overlaps of all sizes occur."""
    shape = draw(st.tuples(*[st.integers(1, 14)] * 3))
    kind = draw(st.sampled_from(["noise", "blobs", "shifted", "grown"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "noise":
        density = draw(st.sampled_from([0.02, 0.3, 0.9]))
        return rng.random(shape) < density, rng.random(shape) < density
    smooth = [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.05 for _ in range(2)]
    if kind == "blobs":
        return smooth[0], smooth[1]
    if kind == "shifted":
        return smooth[0], np.roll(smooth[0], draw(st.integers(-3, 3)), axis=draw(st.integers(0, 2)))
    return smooth[0], ndimage.binary_dilation(smooth[0], iterations=draw(st.integers(1, 2)))


def reference_nsd(oracle, prediction, truth, spacing, tolerance) -> float:
    return float(
        oracle.compute_surface_dice_at_tolerance(
            oracle.compute_surface_distances(truth, prediction, spacing), tolerance
        )
    )


@given(masks=mask_pairs(), spacing=st.tuples(SPACINGS, SPACINGS, SPACINGS), tolerance=TOLERANCES)
def test_equals_the_surface_distance_package(oracle, masks, spacing, tolerance):
    prediction, truth = masks
    assume(prediction.any() or truth.any())
    assert dsc(prediction, truth) == pytest.approx(
        oracle.compute_dice_coefficient(truth, prediction), abs=1e-12
    )
    ours = nsd(prediction, truth, spacing_mm=spacing, tolerance_mm=tolerance)
    assert ours == pytest.approx(
        reference_nsd(oracle, prediction, truth, spacing, tolerance), abs=1e-6
    )


@given(
    masks=st.tuples(
        *[hnp.arrays(bool, (9, 9, 9), elements=st.booleans(), fill=st.just(False))] * 2
    ),
    mm=st.sampled_from([0.1, 0.55, 0.7, 1.0, 1.1, 1.3]),
    steps=st.sampled_from([1, 2, 3, 5, 10]),
)
@example(
    masks=(np.eye(9, dtype=bool)[None].repeat(9, 0), np.ones((9, 9, 9), bool)), mm=0.1, steps=5
)
def test_distances_that_equal_the_tolerance_count_as_in_the_package(oracle, masks, mm, steps):
    prediction, truth = masks
    assume(prediction.any() or truth.any())
    tolerance = mm * steps  # 3-4-5 triangles round to one side, straight lines to the other
    ours = nsd(prediction, truth, spacing_mm=(mm, mm, mm), tolerance_mm=tolerance)
    assert ours == pytest.approx(
        reference_nsd(oracle, prediction, truth, (mm, mm, mm), tolerance), abs=1e-6
    )


def test_far_and_fine_surfaces_equal_the_package(oracle):
    z, y, x = np.ogrid[:40, :60, :60]
    truth = (z - 20) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 < 15**2
    prediction = (z - 20) ** 2 + (y - 37) ** 2 + (x - 30) ** 2 < 17**2
    for tolerance in (2.4, 3.0, 7.0):
        ours = nsd(prediction, truth, spacing_mm=(0.6, 0.6, 0.6), tolerance_mm=tolerance)
        assert ours == pytest.approx(
            reference_nsd(oracle, prediction, truth, (0.6, 0.6, 0.6), tolerance), abs=1e-9
        )


def test_distances_that_tie_to_both_sides_of_the_tolerance(oracle, monkeypatch):
    """Five steps of 1.1 mm are 5.5 mm, three and four at a right angle slightly more."""
    spacing = (1.1, 1.1, 1.1)
    rows = metrics._rows(spacing, 5.5, 1e-9)
    assert rows.tied_in.size
    assert rows.tied_out.size
    transformed = []
    monkeypatch.setattr(
        metrics.ndimage,
        "distance_transform_edt",
        _counted(metrics.ndimage.distance_transform_edt, transformed),
    )
    random = np.random.default_rng(0)
    for _ in range(40):
        one, other = np.zeros((12, 24, 24), bool), np.zeros((12, 24, 24), bool)
        one[5, 11, 11] = True
        for step in random.permutation(np.concatenate([rows.tied_in, rows.tied_out]))[:3]:
            other[tuple(np.add((5, 11, 11), step))] = True
        ours = nsd(one, other, spacing_mm=spacing, tolerance_mm=5.5)
        assert ours == pytest.approx(reference_nsd(oracle, one, other, spacing, 5.5), abs=1e-12)
    assert transformed


def _counted(function, calls):
    def counting(*args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return counting


EMPTY, FULL = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)


@pytest.mark.parametrize(
    ("prediction", "truth", "score"),
    [(EMPTY, EMPTY, 1.0), (EMPTY, FULL, 0.0), (FULL, EMPTY, 0.0), (FULL, FULL, 1.0)],
)
def test_empty_masks(prediction, truth, score):
    assert dsc(prediction, truth) == score
    assert nsd(prediction, truth, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=2.0) == score


def test_surfaces_beyond_the_tolerance_score_exactly_zero():
    one, other = np.zeros((3, 3, 40), bool), np.zeros((3, 3, 40), bool)
    one[1, 1, 1:3], other[1, 1, 30:33] = True, True
    assert nsd(one, other, spacing_mm=(1.0, 1.0, 1.0), tolerance_mm=5.0) == 0.0


@given(masks=mask_pairs(), tolerance=TOLERANCES)
def test_symmetric_and_between_zero_and_one(masks, tolerance):
    spacing = (2.5, 0.8, 0.7)
    there, back = (
        nsd(*pair, spacing_mm=spacing, tolerance_mm=tolerance) for pair in (masks, masks[::-1])
    )
    assert there == pytest.approx(back, abs=1e-12)
    assert 0.0 <= there <= 1.0
    assert nsd(masks[0], masks[0], spacing_mm=spacing, tolerance_mm=tolerance) == 1.0


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match=r"\(3, 4, 5\)"):
        dsc(EMPTY, np.zeros((3, 4, 6), bool))
    with pytest.raises(GeometryError, match="spacing"):
        nsd(FULL, FULL, spacing_mm=(1.0, 0.0, 1.0), tolerance_mm=1.0)


@given(
    labels=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.sampled_from([0, 1, 3, 200]),
    )
)
def test_boxes_hold_each_label_tightly(labels):
    found = bounding_boxes(labels)
    assert set(found) == set(np.unique(labels)) - {0}
    for label, box in found.items():
        cut = labels[box] == label
        assert cut.sum() == (labels == label).sum()
        assert all(
            cut.any(axis=tuple(a for a in range(3) if a != axis))[[0, -1]].all()
            for axis in range(3)
        )


def test_the_enclosing_box_of_two():
    one, other = (slice(0, 2), slice(3, 5), slice(1, 2)), (slice(1, 4), slice(0, 1), slice(1, 9))
    assert enclosing_box(one, other) == (slice(0, 4), slice(0, 5), slice(1, 9))
    assert enclosing_box(one, None) == one
    assert enclosing_box(None, None) is None
