from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.bundle.spec import Resampling
from nnstudent.inference.grid.resample import (
    axis_orders,
    neighbors,
    new_shape,
    operator,
    resample,
    separate_axis,
)

sizes = st.integers(2, 40)
orders = st.sampled_from([0, 1, 3])


@given(old=sizes, new=sizes, order=orders)
def test_a_constant_stays_constant(old, new, order):
    np.testing.assert_allclose(operator(old, new, order).sum(axis=1), 1, atol=1e-5)


@given(old=sizes, order=orders)
def test_the_same_size_changes_nothing(old, order):
    np.testing.assert_array_equal(operator(old, old, order), np.eye(old, dtype=np.float32))


def test_splines_have_no_subnormal_numbers():
    matrix = np.abs(operator(512, 342, 3))
    assert matrix[matrix > 0].min() > 1e-13, "a product with them takes ten times as long"


@given(old=st.integers(4, 40), new=sizes)
def test_linear_resampling_keeps_a_ramp_where_nothing_is_beyond_the_border(old, new):
    position = (np.arange(new) + 0.5) * old / new - 0.5
    inside = (position >= 0) & (position <= old - 1)
    np.testing.assert_allclose(
        (operator(old, new, 1) @ np.arange(old, dtype=np.float32))[inside],
        position[inside],
        atol=1e-4,
    )


@given(old=sizes, new=sizes, order=st.sampled_from([0, 1]))
def test_neighbors_lie_around_the_new_voxel(old, new, order):
    lower, upper, share = neighbors(old, new, order)
    assert (lower >= 0).all()
    assert (lower <= upper).all()
    assert (upper < old).all()
    assert ((share >= 0) & (share < 1)).all()


@given(old=st.tuples(sizes, sizes, sizes), new=st.tuples(sizes, sizes, sizes))
def test_cubic_splines_stay_in_the_range_of_the_image(old, new):
    image = np.random.default_rng(0).standard_normal(old).astype(np.float32)
    result = resample(image, new, Resampling(3, 0), spacing=(1, 1, 1), target=(1, 1, 1))
    assert result.shape == new
    assert image.min() - 1e-5 <= result.min()
    assert result.max() <= image.max() + 1e-5


SPACINGS = [
    ((3.0, 3.0, 3.0), (4.0, 1.2, 1.2)),
    ((5.0, 0.8, 0.8), (4.0, 1.2, 1.2)),
    ((5.0, 0.8, 0.8), (1.5, 1.5, 1.5)),
    ((1.0, 1.0, 1.0), (1.5, 1.5, 1.5)),
    ((0.8, 5.0, 0.8), (1.5, 1.5, 1.5)),
    ((0.8, 0.8, 5.0), (4.0, 1.2, 1.2)),
    ((0.2, 1.25, 1.25), (1.0, 1.0, 1.0)),
    ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
]
SETTINGS = [
    Resampling(3, 0),
    Resampling(1, 0),
    Resampling(3, 1),
    Resampling(1, 1),
    Resampling(3, 0, False),
    Resampling(1, 0, True),
]


@pytest.mark.parametrize(("spacing", "target"), SPACINGS)
@pytest.mark.parametrize("how", SETTINGS, ids=str)
def test_it_is_nnunets_resampling(spacing, target, how):
    stock = pytest.importorskip(
        "nnunetv2.preprocessing.resampling.default_resampling",
        reason="compares with nnU-Net, which is not installed",
    )
    if how.force_separate_z and len(stock.get_lowres_axis(spacing)) == 3:
        pytest.skip("nnU-Net cannot do an axis apart that is not coarser")
    image = np.random.default_rng(0).standard_normal((14, 21, 18)).astype(np.float32)
    shape = new_shape(image.shape, spacing, target)
    np.testing.assert_array_equal(shape, stock.compute_new_shape(image.shape, spacing, target))
    apart, axis = stock.determine_do_sep_z_and_axis(
        how.force_separate_z, spacing, target, how.anisotropy
    )
    assert separate_axis(how, spacing, target) == (axis if apart else None)
    expected = stock.resample_data_or_seg_to_shape(
        image[None],
        shape,
        spacing,
        target,
        order=how.order,
        order_z=how.order_z,
        force_separate_z=how.force_separate_z,
    )[0]
    result = resample(image, shape, how, spacing=spacing, target=target)
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_the_coarse_axis_is_nearest_only_where_it_is_apart():
    assert axis_orders(Resampling(3, 0), (5.0, 0.8, 0.8), (1.5, 1.5, 1.5)) == (0, 3, 3)
    assert axis_orders(Resampling(3, 0), (2.0, 0.8, 0.8), (1.5, 1.5, 1.5)) == (3, 3, 3)
