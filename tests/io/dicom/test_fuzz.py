"""A series with random bytes changed is read, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless  # noqa: E402

from tests.io.series import Series  # noqa: E402

SLICES = 3
_WORDS = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"nan ",
    b"1e99",
    b"\\\\\\\\",
    b"SQ\0\0",
    b"UN\0\0",
    b"\xfe\xff\x00\xe0",
)


def _harmed(content: bytes, rng: np.random.Generator) -> bytes:
    data, pixels = bytearray(content), content.rfind(b"\xe0\x7f\x10\x00")
    at = int(rng.integers(pixels if pixels > 0 and rng.random() < 0.8 else len(data)))
    length = int(rng.integers(1, 60))
    match rng.integers(6):
        case 0:
            del data[at:]
        case 1:
            for place in rng.integers(len(data), size=4):
                data[place] = rng.integers(256)
        case 2:
            data[at] ^= 1 << int(rng.integers(8))
        case 3:
            data[at:at] = rng.bytes(length)
        case 4:
            del data[at : at + length]
        case 5:
            data[at : at + 4] = _WORDS[rng.integers(len(_WORDS))]
    return bytes(data)


@pytest.mark.parametrize("kind", ["explicit", "implicit", "deflated", "rle"])
def test_a_harmed_slice_is_read_or_refused(tmp_path, kind):
    series = Series(slices=SLICES)
    folder = series.write(tmp_path / "s")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        if kind == "rle":
            header.compress(RLELossless, encoding_plugin="pydicom")
        elif kind != "explicit":
            header.file_meta.TransferSyntaxUID = {"implicit": ImplicitVRLittleEndian}.get(
                kind, DeflatedExplicitVRLittleEndian
            )
        header.save_as(path, implicit_vr=kind == "implicit", little_endian=True)
    assert np.array_equal(read_series(folder).volume.array + 1024, series.stored)
    path = next(folder.glob("*_1.dcm"))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(100):
        path.write_bytes(_harmed(content, rng))
        try:
            read = read_series(folder)
        except InputError as error:
            refused.append(str(error))
        else:
            assert (
                len(read.stack.slices) == SLICES or read.warnings
            )  # no slice is lost without a word
    assert len(refused) > 30
    assert all(str(folder) in text and "\n" not in text for text in refused)
