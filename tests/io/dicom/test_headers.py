from __future__ import annotations

import warnings

import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from tests.io.series import Series  # noqa: E402


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("RescaleIntercept", "nan", "RescaleIntercept is malformed"),
        ("RescaleIntercept", "inf", "RescaleIntercept is malformed"),
        ("RescaleIntercept", "-1024\\0", "RescaleIntercept is malformed; expected one number"),
        ("RescaleIntercept", "1e300", "RescaleIntercept is 1e.300; expected a number from"),
        ("RescaleSlope", "0", "RescaleSlope is 0; expected a number from"),
        ("RescaleSlope", "-1", "RescaleSlope is -1; expected"),
        ("RescaleSlope", "one", "RescaleSlope is malformed"),
        ("NumberOfFrames", "x", "NumberOfFrames is malformed"),
        ("NumberOfFrames", "-3", "NumberOfFrames is -3; expected"),
        ("NumberOfFrames", "1000000000", "NumberOfFrames is 1e.09; expected"),
        ("PixelSpacing", "0\\0", "PixelSpacing is malformed"),
        ("PixelSpacing", "1", "PixelSpacing is malformed; expected 2 numbers"),
        ("PixelSpacing", "-1\\-1", "PixelSpacing is malformed"),
        ("ImagePositionPatient", "0\\0", "ImagePositionPatient is malformed; expected 3 numbers"),
        (
            "ImagePositionPatient",
            "0\\0\\1e30",
            "ImagePositionPatient is malformed; expected a position",
        ),
        ("ImageOrientationPatient", "1\\0\\0\\0\\x\\0", "ImageOrientationPatient is malformed"),
        ("ImageOrientationPatient", "0\\0\\0\\0\\0\\0", "expected two directions of length 1"),
    ],
)
def test_a_malformed_element_is_named_with_its_file(tmp_path, tag, value, said):
    series = Series()
    with warnings.catch_warnings(action="ignore"):
        folder = series.write(tmp_path / "s")
        path = next(folder.glob("*_2.dcm"))
        header = pydicom.dcmread(path)
        vr, content = pydicom.datadict.dictionary_VR(tag), value.encode() + b" " * (len(value) % 2)
        header[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), vr, len(content), content, 0, False, True
        )
        header.save_as(path)
    with pytest.raises(InputError, match=said) as error:
        read_series(folder)
    assert path.name in str(error.value)
