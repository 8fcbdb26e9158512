from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.inference.checks import ids_at_border, image_warnings, missing_organ_warnings
from nnstudent.io.nifti import read_image
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.phantoms import tiny_phantom


def volume(array: np.ndarray, mm: float = 4.0) -> Volume:
    return Volume(array, Grid(array.shape, np.diag([mm, mm, mm, 1.0])))


def test_a_ct_is_not_warned_about():
    assert image_warnings(blobs((30, 60, 60), (4.0, 4.0, 4.0))) == ()


def test_a_phantom_is_not_warned_about():
    assert image_warnings(tiny_phantom(1).image) == ()


@pytest.mark.parametrize(
    "name", ["ts_example", "acrin_flt_001", "cptac_C3L-00189", "lidc_0314", "cmb_crc_01068"]
)
def test_real_ct_is_not_warned_about(real_data, name):
    assert image_warnings(read_image(real_data / name / "ct.nii.gz")) == ()


@pytest.mark.parametrize(
    "kind", ["mr", "scaled", "stored", "stored with padding", "wrapped", "bits", "constant"]
)
def test_what_is_no_ct_in_hu_is_warned_about(kind):
    rng = np.random.default_rng(0)
    ct = blobs((30, 60, 60), (4.0, 4.0, 4.0)).array
    array = {
        "mr": np.abs(rng.normal(300, 200, ct.shape)).astype(np.int16),
        "scaled": ((ct - ct.mean()) / ct.std()).astype(np.float32),
        "stored": (ct + 1024).astype(np.int16),  # without the rescale intercept
        "stored with padding": np.where(ct < -900, -2000, ct + 1024).astype(np.int16),
        "wrapped": ct.astype(np.uint16),  # what lies below 0 becomes large
        "bits": np.clip((ct + 1024.0) * 16, 0, 65535).astype(
            np.uint16
        ),  # the scanner's 12 bits in the upper part of 16
        "constant": np.zeros(ct.shape, np.int16),
    }[kind]
    (warning,) = image_warnings(volume(array))
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
    assert (
        any(
            "expected a scan of the abdomen" in line
            for line in missing_organ_warnings(volumes, flare23())
        )
        == warned
    )


def test_a_head_is_warned_about():
    """Scalp of fat and skin, a skull of 7 mm, brain, air in the sinuses."""
    mm = 3.0
    z, y, x = np.meshgrid(*(mm * (np.arange(n) - n / 2) for n in (50, 76, 64)), indexing="ij")
    inside = [
        (z / (80 - d)) ** 2 + (y / (95 - d)) ** 2 + (x / (75 - d)) ** 2 < 1 for d in (0, 3, 6, 13)
    ]
    array = np.select(inside[::-1], (35, 900, -90, 40), -1000) + np.random.default_rng(0).normal(
        0, 10, z.shape
    )
    array[5:10, 10:20, 25:38] = -1000
    (warning,) = image_warnings(volume(array.astype(np.int16), mm))
    assert "does not look like a scan of the abdomen" in warning


@pytest.mark.parametrize("pad", [-1024, -2048, 0])
@pytest.mark.parametrize("how", ["slices", "box", "turned", "disc"])
def test_what_padding_cuts_is_at_the_border(pad, how):
    rng = np.random.default_rng(0)
    truth = np.zeros((24, 40, 40), np.uint8)
    truth[4:20, 10:30, 8:18], truth[8:14, 17:23, 26:32], truth[2:6, 24:28, 22:26] = 1, 2, 3
    image = rng.normal(40, 15, truth.shape).round().astype(np.int16)
    image[:, :5], image[:, -5:], image[..., :5], image[..., -5:] = -1000, -1000, -1000, -1000
    assert ids_at_border(volume(image), truth) == frozenset()
    z, y, x = np.indices(truth.shape)
    kept = {
        "slices": (z >= 5) & (z < 18),
        "box": (y >= 12) & (x < 35),
        "turned": (z + y > 16) & (z + y < 46),
        "disc": (y - 20.0) ** 2 + (x - 24.0) ** 2 < 14**2,
    }[how]
    cut = frozenset(id for id in (1, 2, 3) if (truth == id)[~kept].any())
    assert 1 in cut
    assert 2 not in cut
    assert (
        ids_at_border(volume(np.where(kept, image, pad)), np.where(kept, truth, 0).astype(np.uint8))
        == cut
    )


@given(seed=st.integers(0, 99), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_without_padding_it_is_the_faces(seed, shape):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, shape).astype(np.uint8) * (rng.random(shape) < 0.2).astype(np.uint8)
    faces = {
        int(id)
        for axis in range(3)
        for end in (0, -1)
        for id in labels.take(end, axis=axis).ravel()
    }
    assert ids_at_border(volume(rng.random(shape)), labels) == faces - {0}


def test_a_small_field_of_view_is_warned_about():
    (warning,) = image_warnings(blobs((10, 60, 60), (4.0, 4.0, 4.0)))
    assert warning.startswith("small field of view (240×240×40 mm)")
