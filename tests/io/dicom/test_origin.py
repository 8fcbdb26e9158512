"""Objects made from sources that deviate from the standard are valid and name their source."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.origin import File, read_origin
from nnstudent.io.dicom.seg import check_seg
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from tests.io.dicom.changed import made_of, raw  # noqa: E402
from tests.io.series import SPACING, Series  # noqa: E402


@pytest.mark.parametrize(
    "value",
    [None, "absent", b"", b"0", b"-5", b"abc", b"nan", b"inf", b"5\\5", b"1e400", b"9" * 40],
)
def test_without_a_slice_thickness_it_is_the_distance_between_slices(tmp_path, value):
    def change(header, k):
        if value == "absent":
            del header.SliceThickness
        elif value is None:
            header.SliceThickness = None
        else:
            raw(header, "SliceThickness", value)

    _, _, (seg, _) = made_of(tmp_path, change)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == SPACING[2]
    assert list(measures.PixelSpacing) == list(SPACING[:2])


def test_a_slice_thickness_of_its_own_is_kept(tmp_path):
    _, _, (seg, _) = made_of(tmp_path, lambda header, _: raw(header, "SliceThickness", b"5.00 "))
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5


ODD = [
    ("PatientName", b"A" * 200, None),
    ("PatientName", b"a=b=c=d=e", None),
    ("PatientName", b"a\\b", None),
    ("PatientName", b"\x01\x00", "US"),
    ("PatientID", b"9" * 300, None),
    ("PatientID", b"1\\2\\3", None),
    ("PatientID", b"\x01\x00", "US"),
    ("PatientBirthDate", b"1961.02.03", None),
    ("PatientBirthDate", b"03/02/1961", None),
    ("PatientSex", b"female", None),
    ("PatientSex", b"m", None),
    ("StudyDate", b"2026-01-02", None),
    ("StudyDate", b"20261332", None),
    ("StudyDate", b"\x00\x00\x80\x3f", "FL"),
    ("StudyTime", b"10:11:12", None),
    ("StudyTime", b"midnight", None),
    ("StudyTime", b"101112.1234567890", None),
    ("AccessionNumber", b"A" * 64, None),
    ("AccessionNumber", "é".encode() * 20, None),
    ("StudyID", b"S" * 64, None),
    ("SeriesNumber", b"three", None),
    ("SeriesNumber", b"1\\2", None),
    ("SeriesNumber", b"99999999999", None),
    ("SeriesNumber", b"-4", None),
    ("SeriesNumber", b"3.7", None),
    ("ReferringPhysicianName", b"\xff\xfe\xfd", None),
    ("PositionReferenceIndicator", b"x" * 100, None),
    ("LossyImageCompression", b"maybe", None),
    ("LossyImageCompressionRatio", b"ten", None),
    ("SpacingBetweenSlices", b"-2.5", None),
    ("SpacingBetweenSlices", b"wide", None),
    ("AcquisitionNumber", b"one", None),
    ("KVP", b"high", None),
    ("PatientPosition", b"upside down, more or less", None),
    ("BurnedInAnnotation", b"\x01\x00", "US"),
]


@pytest.mark.parametrize(
    "keyword", sorted({keyword for keyword, _, _ in ODD} - {"SpacingBetweenSlices"})
)
def test_optional_elements_may_be_missing(tmp_path, keyword):
    def change(header, k):
        if keyword in header:
            del header[keyword]

    _, origin, made = made_of(tmp_path, change)
    assert not origin.warnings
    for dataset in made:
        for needed in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
        ):
            assert needed in dataset


@pytest.mark.parametrize(("keyword", "value", "vr"), ODD)
def test_odd_values_spoil_nothing(tmp_path, keyword, value, vr):
    _, origin, made = made_of(tmp_path, lambda header, _: raw(header, keyword, value, vr))
    for dataset in made:
        assert dataset.SeriesNumber > 0
        for date in ("PatientBirthDate", "StudyDate"):
            assert re.fullmatch(r"(\d{8})?", dataset[date].value or "")
        assert re.fullmatch(r"(\d{6}(\.\d+)?)?", dataset["StudyTime"].value or "")
        assert dataset.PatientSex in ("M", "F", "O", "")
    if value in (b"1961.02.03", b"2026-01-02", b"10:11:12", b"m"):
        wanted = {
            "PatientBirthDate": "19610203",
            "StudyDate": "20260102",
            "StudyTime": "101112",
            "PatientSex": "M",
        }[keyword]
        assert [dataset[keyword].value for dataset in made] == [wanted, wanted]
        assert not origin.warnings
    if value in (b"03/02/1961", b"female", b"20261332", b"midnight"):
        assert origin.warnings == (f"{keyword} of the series is malformed; it is left empty",)
    if keyword == "PatientID" and vr is None:  # never cut: it would be another patient's
        assert all(
            str(dataset[keyword].value).replace("['", "").startswith(value.decode()[0])
            for dataset in made
        )


def test_a_value_of_another_type_is_left_empty_with_a_warning(tmp_path):
    def change(header, k):
        del header.PatientID
        header.add_new("PatientID", "SQ", [pydicom.Dataset()])

    _, origin, made = made_of(tmp_path, change)
    assert origin.warnings == ("PatientID of the series is not text; it is left empty",)
    assert [dataset.PatientID for dataset in made] == ["", ""]


def test_unknown_sop_classes_are_referred_to(tmp_path):
    _, _, (seg, structures) = made_of(
        tmp_path, lambda header, _: setattr(header, "SOPClassUID", "1.2.826.0.1.3680043.10.1.1")
    )
    classes = set(re.findall(r"Referenced SOP Class UID +UI: (\S+)", str(seg)))
    assert classes == {"1.2.826.0.1.3680043.10.1.1"}
    assert "1.2.826.0.1.3680043.10.1.1" in str(structures)


def test_lossy_compression_is_stated(tmp_path):
    _, _, (seg, _) = made_of(
        tmp_path, lambda header, _: setattr(header, "LossyImageCompression", "01")
    )
    assert seg.LossyImageCompression == "01"


def test_several_multiframe_files_cannot_become_a_dicom_seg(tmp_path):
    series = read_series(Series().write(tmp_path / "s"))
    origin = read_origin(series)
    check_seg(series, origin)
    framed = {
        path: File(file.sop_class, file.uid, ((0.0, 0.0, 0.0),))
        for path, file in origin.files.items()
    }
    with pytest.raises(InputError, match="5 files, some of several frames"):
        check_seg(series, replace(origin, files=framed))
