"""Damaged files refuse the series, other files are named, and no pipe is ever opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.contents import holds_dicom
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian  # noqa: E402

from tests.io.series import SLICES, Series, save  # noqa: E402

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


def test_damaged_files_are_counted(tmp_path):
    folder = Series().write(tmp_path / "s")
    _harm(folder, lambda content: b"", 1, 2, 3)
    with pytest.raises(InputError, match=r"\(2 more damaged: "):
        read_series(folder)


@pytest.mark.parametrize(
    "kind",
    ["no preamble", "mark only", "no file meta", "implicit", "big endian", "no transfer syntax"],
)
def test_an_incomplete_head_is_not_damage(tmp_path, kind):
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


def test_pipes_and_devices_are_named_and_never_opened(tmp_path):
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
        "not DICOM images: 1.dcm (not a regular file), 2.dcm (not a regular file), "
        "null (not a regular file)"
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


def test_unreadable_files_refuse_the_series(tmp_path, monkeypatch):
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


def test_other_files_are_named(tmp_path):
    folder = Series().write(tmp_path / "s")
    (folder / "readme.txt").write_text("from the PACS")
    (folder / "thumb.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 300)
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    save(Series().slice(2), folder / ".copy.dcm")
    Series().write(folder / ".snapshot")
    (warning,) = read_series(folder).warnings
    assert warning == (
        "passed over files that are not DICOM images: .DS_Store (a hidden file), "
        ".copy.dcm (a hidden file), .snapshot (a hidden folder), readme.txt, thumb.jpg"
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
    assert read.warnings == (r"passed over files that are not DICOM images: \xe4 .txt",)


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
