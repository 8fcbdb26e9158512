"""Where the body is."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.bundle.spec import Normalization
from nnstudent.inference.windows.body import air_limit, find_body
from nnstudent.inference.windows.guided import guided
from nnstudent.inference.windows.sliding import Canvas, pad
from tests.inference.oracle import AIR, TISSUE, Oracle, ellipsoid
from tests.inference.windows.test_guided import AIR_HU


def test_without_a_scale_that_tells_air_all_is_body():
    image = np.random.default_rng(0).random((20, 30, 30), np.float32)
    truth = np.zeros(image.shape, np.uint8)
    truth[19, 29, 0] = 4
    found = Oracle(truth, (8, 12, 12)).segment(image, guided(spacing_mm=(4, 4, 4), air=None))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        (Normalization("ct", mean=100, std=50, lower=-900, upper=300), -8.0),
        (Normalization("ct", mean=100, std=50, lower=-150, upper=300), -4.999),
        (Normalization("zscore"), None),
    ],
)
def test_the_limit_of_air_is_on_the_networks_scale(normalization, expected):
    assert air_limit(normalization) == (None if expected is None else pytest.approx(expected))


def test_lungs_and_gas_belong_to_the_body_and_the_table_does_not():
    body = ellipsoid((20, 60, 60), (10, 30, 30), (400, 20, 25))
    lung = ellipsoid((20, 60, 60), (10, 30, 20), (300, 8, 8))
    image = np.where(body & ~lung, TISSUE, AIR).astype(np.float32)
    image[:, 55, 5:55] = 0
    mask = find_body(
        Canvas(*pad(image, (8, 8, 8)), (8, 8, 8)), air=AIR_HU, spacing_mm=(4, 4, 4), cell=(1, 1, 1)
    )
    assert mask[body].all()
    assert not mask[:, 54:].any()
