"""Random fields of the working grid."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.phantom.grid import smooth_noise

PLACES = [np.arange(0.0, 400.0, 4.0) for _ in range(3)]


def test_noise_has_a_deviation_of_one_and_is_smooth() -> None:
    field = smooth_noise(np.random.default_rng(0), PLACES, 20.0)
    assert field.shape == (100, 100, 100)
    assert field.std() == pytest.approx(1, abs=0.05)
    assert abs(field.mean()) < 0.1
    assert np.abs(np.diff(field, axis=0)).mean() < 0.3


def test_the_seed_determines_the_field() -> None:
    one, same, other = (
        smooth_noise(np.random.default_rng(seed), [axis[:20] for axis in PLACES], 20.0)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.5
