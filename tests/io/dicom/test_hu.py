"""Slices whose stored values do not all mean HU."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from tests.io.series import COLUMNS, ROWS, SLICES, Series  # noqa: E402


@pytest.mark.parametrize(
    ("tag", "change", "said"),
    [
        ("Rows", 0, "Rows is 0; expected a number from 1"),
        ("Columns", None, "Columns is missing"),
        ("BitsAllocated", None, "differ in BitsAllocated"),
        ("BitsStored", 12, "differ in BitsStored"),
        ("PixelRepresentation", 1, "differ in PixelRepresentation"),
        ("PhotometricInterpretation", None, r"differ in PhotometricInterpretation \(.*missing"),
        ("PhotometricInterpretation", "MONOCHROME1", "differ in PhotometricInterpretation"),
        ("RescaleType", "US2", "differ in RescaleType"),
        ("RescaleIntercept", None, "RescaleIntercept is missing in 1 of 5 slices"),
        ("RescaleSlope", None, "RescaleSlope is missing in 1 of 5 slices"),
    ],
)
def test_slices_whose_values_mean_something_else_are_refused(tmp_path, tag, change, said):
    series = Series()
    if change is None:
        delattr(series.slices[2], tag)
    else:
        setattr(series.slices[2], tag, change)
    with pytest.raises(InputError, match=said):
        read_series(series.write(tmp_path / "s"))


def test_missing_rescale_values_are_a_warning(tmp_path):
    series = Series(stored=np.zeros((SLICES, ROWS, COLUMNS), int))
    for header in series.slices:
        del header.RescaleIntercept, header.RescaleSlope
    told = read_series(series.write(tmp_path / "s")).warnings
    assert told == tuple(
        f"no slice has {tag}: {value} is assumed, as if the stored values were HU"
        for tag, value in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )


def test_values_that_are_not_hu_are_refused(tmp_path):
    series = Series()
    for header in series.slices:
        header.RescaleType = "Z_EFF"
    with pytest.raises(InputError, match="RescaleType is Z_EFF, so the values are not HU"):
        read_series(series.write(tmp_path / "s"))
