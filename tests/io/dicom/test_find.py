"""What lies among the slices: damaged files refuse the series, what is none of it is named, nothing is opened that never ends."""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.find import holds_dicom
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid  # noqa: E402

from tests.io.series import COLUMNS, ROWS, SLICES, Series, save  # noqa: E402

HARMED = {
    "empty": (lambda content: b"", "damaged (empty)"),
    "zeros": (lambda content: bytes(len(content)), "it begins with zeros only"),
    "cut in the preamble": (lambda content: content[:100], "it begins with zeros only"),
    "cut behind the mark": (lambda content: content[:132], "Modality is missing"),
    "cut in the file meta": (lambda content: content[:180], "damaged DICOM"),
    "cut in the header": (lambda content: content[:700], "028"),
    "cut before the pixels": (
        lambda content: content[: content.rindex(b"\xe0\x7f\x10\x00")],
        "it has no pixels",
    ),
    "cut in the head of the pixels": (
        lambda content: content[: content.rindex(b"\xe0\x7f\x10\x00") + 10],
        "damaged DICOM",
    ),
    "cut in the pixels": (
        lambda content: content[:-10],
        "ends 10 bytes too early, within its pixels",
    ),
    "preamble, mark and rubbish": (lambda content: content[:132] + b"\xff" * 900, "damaged DICOM"),
}


def _harm(folder: Path, harm, *numbers: int) -> list[Path]:
    harmed = [next(folder.glob(f"*_{number}.dcm")) for number in numbers]
    for path in harmed:
        path.rename(path.with_name(f"0{28 + len(path.name)}_{path.name}"))
    harmed = sorted(folder.glob("0*"))
    for path in harmed:
        path.write_bytes(harm(path.read_bytes()))
    return harmed


@pytest.mark.parametrize("kind", HARMED)
def test_a_damaged_file_refuses_the_series(tmp_path, kind):
    harm, said = HARMED[kind]
    folder = Series().write(tmp_path / "s")
    (path,) = _harm(folder, harm, 2)
    with pytest.raises(InputError) as error:
        read_series(folder)
    assert str(error.value).startswith(str(path))
    assert "copy the series again" in str(error.value)
    if said != "028":
        assert said in str(error.value)
    path.unlink()
    assert len(read_series(folder).stack.slices) == SLICES - 1


def test_every_length_a_file_is_cut_to_is_seen(tmp_path):
    """Whatever is left of a slice, it is never a series without it."""
    folder = Series().write(tmp_path / "s")
    path = next(folder.glob("*_2.dcm"))
    content = path.read_bytes()
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=path.name):
            read_series(folder)


def test_how_many_are_damaged_is_told(tmp_path):
    folder = Series().write(tmp_path / "s")
    _harm(folder, lambda content: b"", 1, 2, 3)
    with pytest.raises(InputError, match=r"\(2 more damaged: "):
        read_series(folder)


@pytest.mark.parametrize(
    "kind",
    ["no preamble", "mark only", "no file meta", "implicit", "big endian", "no transfer syntax"],
)
def test_what_is_left_out_of_the_head_is_no_damage(tmp_path, kind):
    series = Series()
    folder = series.write(tmp_path / "s")
    for path in folder.iterdir():
        if kind == "no preamble":
            path.write_bytes(path.read_bytes()[132:])
        elif kind == "mark only":
            path.write_bytes(path.read_bytes()[128:])
        elif kind == "no transfer syntax":
            header = pydicom.dcmread(path)
            del header.file_meta.TransferSyntaxUID
            pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=True)
        else:
            header = pydicom.dcmread(path)
            header.file_meta.TransferSyntaxUID = {"big endian": ExplicitVRBigEndian}.get(
                kind, ImplicitVRLittleEndian
            )
            if kind == "big endian":
                header["PixelData"].VR = "OW"
                header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
            if kind == "no file meta":
                del header.file_meta
                header.save_as(
                    path, implicit_vr=True, little_endian=True, enforce_file_format=False
                )
            else:
                pydicom.dcmwrite(
                    path,
                    header,
                    implicit_vr=kind != "big endian",
                    little_endian=kind != "big endian",
                )
    read = read_series(folder)
    assert np.array_equal(read.volume.array + 1024, series.stored)
    assert read.warnings == ()
    assert holds_dicom(folder)


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path):
    folder = Series().write(tmp_path / "s")
    os.mkfifo(folder / "1.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(folder)  # the name of a socket must be short
        try:
            server.bind("2.dcm")
        finally:
            os.chdir(place)
        (folder / "null").symlink_to("/dev/zero")
        read = read_series(folder)
    assert len(read.stack.slices) == SLICES
    (warning,) = read.warnings
    assert warning.endswith(
        "no DICOM image: 1.dcm (no regular file), 2.dcm (no regular file), null (no regular file)"
    )
    assert holds_dicom(folder)


def test_links_are_followed_and_a_link_to_nothing_is_a_slice_that_is_missing(tmp_path):
    kept = Series().write(tmp_path / "kept")
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "below").symlink_to(kept)
    (folder / "round").symlink_to(folder)
    assert len(read_series(folder).stack.slices) == SLICES
    (folder / "gone.dcm").symlink_to(tmp_path / "none")
    with pytest.raises(
        InputError, match=r"gone\.dcm: cannot be read \(No such file or directory, a link\)"
    ):
        read_series(folder)


def test_what_may_not_be_read_refuses_the_series(tmp_path, monkeypatch):
    folder = Series().write(tmp_path / "s")
    (folder / "below").mkdir()
    real_open, real_scan = Path.open, os.scandir

    def opened(self, *args, **how):
        if self.name.endswith("_2.dcm"):
            raise PermissionError(13, "Permission denied", str(self))
        return real_open(self, *args, **how)

    def scanned(path):
        if Path(path).name == "below":
            raise PermissionError(13, "Permission denied", str(path))
        return real_scan(path)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(InputError, match=r"_2\.dcm: cannot be read \(Permission denied\)"):
        read_series(folder)
    monkeypatch.setattr(Path, "open", real_open)
    monkeypatch.setattr(os, "scandir", scanned)
    with pytest.raises(
        InputError, match=r"below: this folder cannot be read \(Permission denied\)"
    ):
        read_series(folder)


def test_what_is_no_slice_is_named(tmp_path):
    folder = Series().write(tmp_path / "s")
    (folder / "readme.txt").write_text("from the PACS")
    (folder / "thumb.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 300)
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    save(Series().slice(2), folder / ".copy.dcm")
    Series().write(folder / ".snapshot")
    (warning,) = read_series(folder).warnings
    assert warning == (
        "passed over what is no DICOM image: .DS_Store (a hidden file), .copy.dcm (a hidden file), "
        ".snapshot (a hidden folder), readme.txt, thumb.jpg"
    )


def test_names_in_any_encoding(tmp_path):
    folder = tmp_path / os.fsdecode(b"s\xff\xfe")
    series = Series()
    series.write(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        os.rename(os.fsencode(path), os.fsencode(folder) + b"/\xe4\xf6\n" + bytes([0xF0 + number]))
    (folder / os.fsdecode(b"\xe4\n.txt")).write_text("from the PACS")
    read = read_series(folder)
    assert np.array_equal(read.volume.array + 1024, series.stored)
    assert read.warnings == (r"passed over what is no DICOM image: \xe4 .txt",)


def test_damage_refuses_only_what_it_may_belong_to(tmp_path):
    wanted, other = Series(number=2), Series(number=3, slices=7)
    wanted.write(tmp_path / "a")
    other.write(tmp_path / "b")
    for path in (tmp_path / "b").glob("*_2.dcm"):
        path.write_bytes(path.read_bytes()[:-10])  # it says its series
    (tmp_path / "b" / "lost.dcm").write_bytes(b"")  # it does not
    read = read_series(tmp_path, series="2")
    (told,) = read.warnings
    assert told.startswith("passed over damaged files of other series: ")
    assert "lost.dcm" in told
    with pytest.raises(InputError, match=r"within its pixels.*1 more damaged"):
        read_series(tmp_path, series="3")
    (tmp_path / "a" / "lost.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"a/lost\.dcm: damaged \(empty\)"):
        read_series(tmp_path, series="2")


def test_a_damaged_file_in_a_folder_of_its_own_may_belong_to_any(tmp_path):
    Series().write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        read_series(tmp_path)


def test_a_slice_that_calls_itself_something_else_is_missed(tmp_path):
    series = Series()
    series.slices[2].Modality = "CU"
    with pytest.raises(InputError, match="Modality is CU, of the rest of its series CT"):
        read_series(series.write(tmp_path / "s"))


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
            "ImagePositionPatient is malformed; expected a place",
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


def test_no_slice_with_an_intercept_is_told(tmp_path):
    series = Series(stored=np.zeros((SLICES, ROWS, COLUMNS), int))
    for header in series.slices:
        del header.RescaleIntercept, header.RescaleSlope
    told = read_series(series.write(tmp_path / "s")).warnings
    assert told == tuple(
        f"no slice has {tag}: {value} was taken, as if the stored values were HU"
        for tag, value in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )


def test_values_that_are_no_hu_are_refused(tmp_path):
    series = Series()
    for header in series.slices:
        header.RescaleType = "Z_EFF"
    with pytest.raises(InputError, match="RescaleType is Z_EFF: its values are no HU"):
        read_series(series.write(tmp_path / "s"))


def test_one_uid_for_two_places_is_refused(tmp_path):
    series = Series()
    series.slices[3].SOPInstanceUID = series.slices[1].SOPInstanceUID
    with pytest.raises(InputError, match="lie at different places and have one SOPInstanceUID"):
        read_series(series.write(tmp_path / "s"))


def test_one_uid_for_two_pictures_is_refused(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    again = series.slice(1)
    again.SOPInstanceUID, again.PixelData = (
        series.slices[1].SOPInstanceUID,
        bytes(2 * ROWS * COLUMNS),
    )
    save(again, folder / "again.dcm")
    with pytest.raises(InputError, match="two different pictures at one place"):
        read_series(folder)


def test_pixels_that_cannot_have_been_packed_are_refused(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        header.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
        header.Rows = header.Columns = 65535
        header.save_as(path)
    with pytest.raises(
        InputError, match="Rows is 65535, Columns 65535; expected a CT image of at most"
    ):
        read_series(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.Rows = header.Columns = 8192
        header.save_as(path)
    with pytest.raises(InputError, match="the pixels cannot be decoded"):
        read_series(folder)


def test_compressed_pixels_that_end_too_early_are_seen(tmp_path):
    folder = Series().write(tmp_path / "s")
    path = next(folder.glob("*_2.dcm"))
    header = pydicom.dcmread(path)
    header.compress(pydicom.uid.RLELossless, encoding_plugin="pydicom")
    header.save_as(path)
    assert len(read_series(folder).stack.slices) == SLICES
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="ends within its compressed pixels"):
        read_series(folder)


def test_sequences_nested_without_end(tmp_path):
    series = Series()
    folder = series.write(tmp_path / "s")
    path = next(folder.glob("*_2.dcm"))
    content = path.read_bytes()
    here = content.rindex(b"\xe0\x7f\x10\x00")
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(content[:here] + start * 10_000 + content[here:])
    with pytest.raises(InputError, match=f"{path.name}: damaged DICOM"):
        read_series(folder)


def test_unknown_transfer_syntax_and_character_set(tmp_path):
    series = Series()
    with warnings.catch_warnings(action="ignore"):
        for header in series.slices:
            header.SpecificCharacterSet = "ISO_IR 999"
            header.ConvolutionKernel = "B30f"
        folder = series.write(tmp_path / "s")
    assert np.array_equal(read_series(folder).volume.array + 1024, series.stored)
    path = next(folder.glob("*_2.dcm"))
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = generate_uid()
    header.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(InputError, match=f"{path.name}: the pixels cannot be decoded"):
        read_series(folder)
