"""UIDs that are missing, malformed or contradict each other."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.origin import read_origin
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from tests.io.dicom.changed import UIDS, made_of, raw  # noqa: E402
from tests.io.series import Series  # noqa: E402


def lacking(*keywords, only=None):
    def change(header, k):
        for keyword in keywords:
            if only is None or k == only:
                del header[keyword]

    return change


def test_all_uids_that_are_missing_are_named_together(tmp_path):
    def change(header, k):
        lacking("StudyInstanceUID", "FrameOfReferenceUID")(header, k)
        raw(header, "SeriesInstanceUID", b"not a UID")

    with pytest.raises(InputError) as caught:
        made_of(tmp_path, change)
    text = str(caught.value)
    assert (
        "StudyInstanceUID is missing, SeriesInstanceUID is malformed, "
        "FrameOfReferenceUID is missing"
    ) in text
    assert "--new-uids" in text
    assert "\n" not in text
    assert "not a UID" not in text


@pytest.mark.parametrize("keyword", UIDS)
@pytest.mark.parametrize(
    "value", [None, b"", b"1.2.x", b"1." * 40 + b"1", b"1..2", b"12", b"1.2\\1.3"]
)
def test_new_uids_are_valid_and_the_same_for_the_same_series(tmp_path, keyword, value):
    def change(header, k):
        if keyword == "SOPInstanceUID":
            header.file_meta = pydicom.dataset.FileMetaDataset()
        if value is None:
            del header[keyword]
        else:
            raw(header, keyword, value + (b"x%d" % k if keyword == "SOPInstanceUID" else b""))

    if keyword not in ("SOPClassUID", "SOPInstanceUID"):
        with pytest.raises(InputError, match=rf"{keyword} is (missing|malformed).*--new-uids"):
            made_of(tmp_path, change)
        shutil.rmtree(tmp_path / "s")
    source = Series()
    for k, header in enumerate(source.slices):
        change(header, k)
    series = read_series(_write(source, tmp_path / "s"))
    first = read_origin(series, new_uids=True)
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    again = read_origin(read_series(tmp_path / "elsewhere"), new_uids=True)
    for one, other in ((first, again),):
        assert (one.study, one.series, one.frame_of_reference) == (
            other.study,
            other.series,
            other.frame_of_reference,
        )
        assert [(file.sop_class, file.uid) for file in one.files.values()] == [
            (file.sop_class, file.uid) for file in other.files.values()
        ]
    uids = [
        first.study,
        first.series,
        first.frame_of_reference,
        *(file.uid for file in first.files.values()),
    ]
    assert len(set(uids)) == 3 + len(source.slices)
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
    assert f"{keyword} is" in " ".join(first.warnings)
    assert first.study == source.study or keyword == "StudyInstanceUID"
    assert first.series == source.uid or keyword == "SeriesInstanceUID"


def _write(source, folder):
    """Without the file's own head saying what the data set does not."""
    folder.mkdir()
    for k, header in enumerate(source.slices):
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.preamble = bytes(128)
        pydicom.dcmwrite(folder / f"{k}.dcm", header, enforce_file_format=False)
    return folder


def test_other_content_has_other_uids(tmp_path):
    seen = set()
    for k in range(2):
        source = Series(stored=np.full((5, 6, 8), 900 + k))
        for header in source.slices:
            header.StudyInstanceUID = header.SeriesInstanceUID = "1.2.3"
            del header.FrameOfReferenceUID
        seen.add(
            read_origin(
                read_series(source.write(tmp_path / f"{k}")), new_uids=True
            ).frame_of_reference
        )
    assert len(seen) == 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID", "PatientID"])
@pytest.mark.parametrize("new_uids", [False, True])
def test_files_that_contradict_each_other_are_refused(tmp_path, keyword, new_uids):
    source = Series()
    series = read_series(source.write(tmp_path / "s"))
    for k, header in enumerate(source.slices):  # the reader would refuse them, too
        setattr(header, keyword, f"1.2.3.{k % 2}")
    source.write(tmp_path / "s")
    with pytest.raises(InputError, match=f"{keyword} differs between the files of the series"):
        read_origin(series, new_uids=new_uids)
