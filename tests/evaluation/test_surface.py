"""Surfaces and their areas, beside the surface-distance package."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnstudent.evaluation import metrics
from nnstudent.evaluation.metrics import nsd
from nnstudent.evaluation.surface import surface_codes, surfel_areas
from tests.evaluation.test_metrics import SPACINGS, reference_nsd


def test_many_steps_make_a_distance_transform_faster(oracle):
    random = np.random.default_rng(3)
    prediction, truth = (
        ndimage.gaussian_filter(random.normal(size=(20, 24, 28)), 2) > 0.1 for _ in range(2)
    )
    assert metrics._rows((0.1, 0.1, 0.1), 5.0, 1e-8) is None
    for tolerance in (0.3, 0.5, 5.0):
        ours = nsd(prediction, truth, spacing_mm=(0.1, 0.1, 0.1), tolerance_mm=tolerance)
        assert ours == pytest.approx(
            reference_nsd(oracle, prediction, truth, (0.1, 0.1, 0.1), tolerance), abs=1e-9
        )


@given(spacing=st.tuples(SPACINGS, SPACINGS, SPACINGS))
@settings(max_examples=30, deadline=None)
def test_surfel_areas_equal_the_package_for_every_code(oracle, spacing):
    tables = importlib.import_module(f"{oracle.__name__}.lookup_tables")
    theirs = tables.create_table_neighbour_code_to_surface_area(spacing)
    ours = surfel_areas(spacing)
    for code in range(256):
        cube = np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)
        their_code = int((cube * tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL).sum())
        assert surface_codes(cube)[1, 1, 1] == code
        assert ours[code] == pytest.approx(theirs[their_code], rel=1e-12, abs=1e-12)


def test_the_area_of_a_plane():
    half = np.zeros((10, 10, 10), bool)
    half[:5] = True
    codes = surface_codes(half)[5, 1:-1, 1:-1]
    assert surfel_areas((2.0, 0.5, 0.7))[codes] == pytest.approx(0.5 * 0.7)
