from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.io.dicom.codestream import FrameSize, check_frames, frame_size
from nnstudent.io.dicom.series import read_series
from tests.io.series import Series, compress, pydicom

SHAPE = (24, 40)
SYNTAXES = ("JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessProcess14_1")


def compressed(folder: Path, syntax: str) -> Path:
    stored = np.random.default_rng(1).integers(0, 2000, (3, *SHAPE))
    return compress(Series(stored=stored, slices=3).write(folder), syntax)


def codestream(path: Path) -> bytes:
    (frame,) = pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    return frame


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_size_in_a_codestream_is_that_of_the_picture(tmp_path, syntax):
    for path in compressed(tmp_path / "s", syntax).iterdir():
        assert frame_size(codestream(path)) == FrameSize(*SHAPE, 1)
    assert read_series(tmp_path / "s").volume.array.shape == (3, *SHAPE)


def _with_size(frame: bytes, *, syntax: str, rows: int, columns: int) -> bytes:
    if syntax == "JPEG2000Lossless":
        place = frame.index(b"\xff\x51") + 6
        return frame[:place] + struct.pack(">2I", columns, rows) + frame[place + 8 :]
    marker = {"JPEGLSLossless": b"\xff\xf7", "JPEGLosslessProcess14_1": b"\xff\xc3"}[syntax]
    place = frame.index(marker) + 5
    return frame[:place] + struct.pack(">2H", rows, columns) + frame[place + 4 :]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("rows", "columns"), [(65000, 65000), (24, 41), (0, 40), (12, 40)])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, syntax, rows, columns
):
    folder = compressed(tmp_path / "s", syntax)
    path = sorted(folder.iterdir())[1]
    header = pydicom.dcmread(path)
    frame = _with_size(codestream(path), syntax=syntax, rows=rows, columns=columns)
    header.PixelData = pydicom.encaps.encapsulate([frame])
    header.save_as(path)
    decode = pydicom.Dataset.pixel_array.fget

    def guarded(dataset):
        assert dataset.SOPInstanceUID != header.SOPInstanceUID, "decoded before it was checked"
        return decode(dataset)

    monkeypatch.setattr(pydicom.Dataset, "pixel_array", property(guarded))
    with pytest.raises(InputError) as error:
        read_series(folder)
    assert str(error.value) == (
        f"{path}: compressed frame 1 holds {columns}×{rows} pixels, "
        "the header states 40×24 pixels; copy the series again"
    )


def test_a_frame_without_a_size_is_refused(tmp_path):
    folder = compressed(tmp_path / "s", "JPEG2000Lossless")
    path = sorted(folder.iterdir())[0]
    header = pydicom.dcmread(path)
    header.PixelData = pydicom.encaps.encapsulate([codestream(path)[:30]])
    header.save_as(path)
    with pytest.raises(InputError, match="compressed frame 1 does not say how large it is"):
        read_series(folder)


@pytest.mark.parametrize("has_bot", [False, True])
def test_every_frame_of_a_file_is_checked(tmp_path, has_bot):
    path = next(compressed(tmp_path / "s", "JPEG2000Lossless").iterdir())
    frame = codestream(path)
    other = _with_size(frame, syntax="JPEG2000Lossless", rows=24, columns=4000)
    header = pydicom.dcmread(path)
    header.NumberOfFrames = 3
    header.PixelData = pydicom.encaps.encapsulate([frame] * 3, has_bot=has_bot)
    check_frames(header, path)
    header.PixelData = pydicom.encaps.encapsulate([frame, other, frame], has_bot=has_bot)
    with pytest.raises(InputError, match="compressed frame 2 holds 4000×24 pixels"):
        check_frames(header, path)


def test_several_values_per_pixel_are_named():
    frame = b"\xff\xd8\xff\xff\xc0" + struct.pack(">HBHHB", 17, 8, 24, 40, 3) + bytes(9)
    assert str(frame_size(frame)) == "40×24 pixels of 3 values"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"]))
def test_any_bytes_have_a_size_or_none(rest, begin):
    size = frame_size(begin + rest)
    assert size is None or len(size) == 3
