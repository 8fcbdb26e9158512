from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nnstudent.io.dicom.rtstruct import outlines

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")

from tests.io.dicom.objects import (  # noqa: E402
    inside,
)


@pytest.mark.parametrize("seed", range(8))
def test_outlines_hold_exactly_the_mask(seed):
    """Noise has everything: islands in holes, corners that touch, voxels at the border."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((23, 31)), seed / 4)
    mask = field > np.quantile(field, 0.4)
    grid = np.stack(np.indices(mask.shape)[::-1], axis=-1)
    pieces = outlines(mask)
    assert np.array_equal(
        sum(inside(grid, ring).astype(int) for ring in pieces), mask.astype(int)
    )  # each voxel in one piece only
    assert all(len(ring) >= 4 for ring in pieces)


def test_a_square_has_few_corners():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 3:8] = True
    (ring,) = outlines(mask)
    assert len(ring) == 8
    assert (ring.min(axis=0) == (2.5, 1.5)).all()
    assert (ring.max(axis=0) == (7.5, 6.5)).all()
