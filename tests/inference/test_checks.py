from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.checks import found_nothing, look_over
from nnstudent.io.nifti import read_image
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs


def volume(array: np.ndarray, mm: float = 4.0) -> Volume:
    return Volume(array, Grid(array.shape, np.diag([mm, mm, mm, 1.0])))


def test_a_ct_is_not_warned_about():
    assert look_over(blobs((30, 60, 60), (4.0, 4.0, 4.0))) == ()


@pytest.mark.parametrize("name", ["ts_example", "acrin_flt_001", "cptac_C3L-00189"])
def test_real_ct_is_not_warned_about(real_data, name):
    assert look_over(read_image(real_data / name / "ct.nii.gz")) == ()


@pytest.mark.parametrize("kind", ["mr", "scaled", "stored", "constant"])
def test_what_is_no_ct_in_hu_is_warned_about(kind):
    rng = np.random.default_rng(0)
    ct = blobs((30, 60, 60), (4.0, 4.0, 4.0)).array
    array = {
        "mr": np.abs(rng.normal(300, 200, ct.shape)).astype(np.int16),
        "scaled": ((ct - ct.mean()) / ct.std()).astype(np.float32),
        "stored": (ct + 1024).astype(np.int16),  # without the rescale intercept
        "constant": np.zeros(ct.shape, np.int16),
    }[kind]
    (warning,) = look_over(volume(array))
    assert "does not look like CT in HU (range" in warning


@pytest.mark.parametrize(
    ("volumes", "warned"),
    [
        ({"liver": 250.0, "spleen": 0.0, "tumor": 90.0}, True),
        ({"liver": 250.0, "spleen": 21.0}, False),
        ({"tumor": 0.0}, False),
    ],
)
def test_a_scan_without_any_whole_organ_is_warned_about(volumes, warned):
    assert any("expected a scan of the abdomen" in line for line in found_nothing(volumes, flare23())) == warned


def test_a_small_field_of_view_is_warned_about():
    (warning,) = look_over(blobs((10, 60, 60), (4.0, 4.0, 4.0)))
    assert warning.startswith("small field of view (240×240×40 mm)")
