"""What speaks against an image being a CT in HU of a person."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.io.plausible import image_warnings, is_label_map
from nnstudent.volume import Grid, Volume


def volume(
    array: np.ndarray,
    mm: tuple[float, float, float] = (4.0, 4.0, 4.0),
    warnings: tuple[str, ...] = (),
) -> Volume:
    return Volume(array, Grid(array.shape, np.diag([*mm[::-1], 1.0])), warnings)


def body(shape: tuple[int, int, int] = (40, 64, 64)) -> np.ndarray:
    array = np.random.default_rng(2).normal(40, 60, shape)
    array[:, :24] = np.random.default_rng(3).normal(-1000, 10, array[:, :24].shape)
    return array.round().astype(np.int16)


def test_a_ct_is_not_warned_about():
    assert image_warnings(volume(body())) == ()


def test_guesses_from_reading_come_first():
    assert image_warnings(volume(body(), warnings=("guessed",))) == ("guessed",)


ODD = {
    "without intercept": (lambda ct: ct + 1024, "without its rescale intercept"),
    "0 to 1": (lambda ct: np.clip((ct + 1000) / 2000, 0, 1), "does not look like CT in HU"),
    "0 to 255": (
        lambda ct: np.clip((ct + 160) / 400 * 255, 0, 255).astype(np.uint8),
        "does not look like CT in HU",
    ),
    "normalised": (lambda ct: (ct - ct.mean()) / ct.std(), "does not look like CT in HU"),
    "upside down": (lambda ct: -ct, "does not look like CT in HU"),
    "windowed": (lambda ct: np.clip(ct, -160, 240), "as if windowed for display"),
    "intercept twice": (lambda ct: ct - 1024, "does not look like CT in HU"),
    "shifted": (lambda ct: ct + 400, "hardly any of it"),
}


@pytest.mark.parametrize("name", ODD)
def test_values_that_are_not_hu(name):
    change, said = ODD[name]
    (warning,) = image_warnings(volume(change(body())))
    assert said in warning


@pytest.mark.parametrize(
    ("mm", "said"),
    [
        ((14.0, 3.0, 3.0), "planes are 14.0 mm apart"),
        ((4.0, 0.1, 4.0), "measure only 0.1 mm"),
        ((4.0, 9.0, 17.0), "measures 1088 mm"),
    ],
)
def test_implausible_spacings(mm, said):
    assert any(said in line for line in image_warnings(volume(body(), mm)))


def test_a_long_scan_is_not_a_wide_one():
    """Two metres from head to feet are right, from left to right they are not."""
    assert image_warnings(volume(body((250, 64, 64)), (8.0, 4.0, 4.0))) == ()
    assert "measures 2000 mm" in image_warnings(volume(body((64, 64, 250)), (4.0, 4.0, 8.0)))[0]


@given(
    classes=st.integers(1, 30),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
    seed=st.integers(0, 99),
)
def test_label_maps_are_told(classes, dtype, seed):
    labels = np.random.default_rng(seed).integers(0, classes + 1, (6, 7, 8)).astype(dtype)
    labels[0, 0, :2] = 0, classes
    assert is_label_map(labels)
    assert not is_label_map(labels - np.asarray(1).astype("int16"))
    assert not is_label_map(labels + 0.5)


def test_images_are_not_label_maps():
    assert not is_label_map(body())
    assert not is_label_map(np.clip(body(), 0, 255))
    assert not is_label_map(np.zeros((4, 4, 4), np.int16))
