"""Shapes in the working grid: signed distances, centerlines, axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.phantom.shapes import Space, centerline, curve, rotated_axes

MM = 2.0


def space() -> Space:
    """A grid of 2 mm, not deformed, from -60 to 60 mm."""
    z, y, x = np.meshgrid(*[np.arange(-60, 61, MM, dtype=np.float32)] * 3, indexing="ij")
    return Space(x, y, z, [np.zeros_like(x)], world=(x, y, z))


def test_an_ellipsoid_has_its_volume_and_is_inside_where_the_distance_is_positive() -> None:
    field = space().ellipsoid((5.0, -3.0, 0.0), (30.0, 20.0, 15.0))
    volume = float((field.sdf > 0).sum()) * MM**3
    assert volume == pytest.approx(4 / 3 * np.pi * 30 * 20 * 15, rel=0.03)


def test_a_turned_ellipsoid_is_as_large() -> None:
    turned = space().ellipsoid((0.0, 0.0, 0.0), (30.0, 20.0, 15.0), rotated_axes(20, 30, 40))
    assert float((turned.sdf > 0).sum()) * MM**3 == pytest.approx(4 / 3 * np.pi * 9000, rel=0.03)


def test_a_tube_is_as_wide_as_its_radius() -> None:
    path = centerline([(-30, 0, 0, 20), (0, 0, 0, 20), (30, 0, 0, 20)])
    field = space().tube([path])
    middle = field.sdf[:, :, field.sdf.shape[2] // 2] > 0
    assert float(middle.sum()) * MM**2 == pytest.approx(np.pi * 20**2, rel=0.05)


def test_a_centerline_passes_through_its_points_and_no_radius_vanishes() -> None:
    points = [(0, 0, 0, 5), (20, 10, 0, -1), (40, 0, 5, 5)]
    line = centerline(points, step_mm=0.5)
    for point in points:
        assert np.abs(line[:, :3] - point[:3]).max(1).min() < 0.5
    assert line[:, 3].min() == pytest.approx(0.3)


@given(angles=st.tuples(*[st.floats(-180, 180)] * 3))
def test_axes_stay_at_right_angles(angles) -> None:
    axes = rotated_axes(*angles)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)


def test_a_curve_is_linear_between_knots_and_constant_beyond() -> None:
    at = np.array([-5, 0, 5, 10, 99], np.float32)
    np.testing.assert_allclose(curve(at, [0, 10], [0, 20]), [0, 0, 10, 20, 20])
