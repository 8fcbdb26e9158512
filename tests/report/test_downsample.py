"""Scans made smaller for the page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.report.downsample import VOXELS, downsample, small_shape
from nnstudent.volume import Grid

pytest.importorskip("jinja2", reason="the report needs the extra [report]")
pytest.importorskip("matplotlib", reason="the report needs the extra [report]")


@given(
    st.tuples(*[st.integers(2, 700)] * 3),
    st.tuples(*[st.floats(0.3, 8)] * 3),
)
def test_a_scan_is_reduced_to_the_budget_and_no_further(shape, spacing):
    z, y, x = spacing
    grid = Grid(shape, np.diag([x, y, z, 1.0]))
    new = small_shape(grid)
    assert np.prod(new) <= VOXELS
    assert all(1 <= small <= large for small, large in zip(new, shape, strict=True))
    if (
        np.prod(shape) > VOXELS
        and min(shape) > 100
        and all(size < large for size, large in zip(new, shape, strict=True))
    ):
        assert np.prod(new) > 0.9 * VOXELS or max(grid.resampled(new).spacing_mm) < 1.52
    old, small = (
        np.array(each.shape[::-1]) * each.spacing_mm[::-1] for each in (grid, grid.resampled(new))
    )
    np.testing.assert_allclose(small, old)


@given(st.tuples(*[st.integers(2, 12)] * 3), st.integers(0, 99))
def test_downsampling_keeps_the_mean(shape, seed):
    flat = np.full(shape, 7.0)
    small = tuple((size + 1) // 2 for size in shape)
    np.testing.assert_allclose(downsample(flat, small), 7.0, rtol=1e-5)
    noise = np.random.default_rng(seed).normal(size=shape)
    assert np.abs(downsample(noise, small)).max() <= np.abs(noise).max() + 1e-6
