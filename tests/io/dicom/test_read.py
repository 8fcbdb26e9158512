from __future__ import annotations

import resource
import struct
import zlib

import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import DeflatedExplicitVRLittleEndian  # noqa: E402

from nnstudent.io.dicom.read import DamagedError, read_dataset, read_header  # noqa: E402
from tests.io.series import CT, Series, save  # noqa: E402


def deflated(path, *, zeros: int):
    """A deflated slice, and behind its pixels an element of so many zeros."""
    header = Series().slices[0]
    save(header, path)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    data = path.read_bytes()
    begin = 144 + struct.unpack_from("<I", data, 140)[0]  # behind the file meta information
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH4sI", 0x7FE1, 0x1010, b"OB\0\0", zeros)
    pieces = [packing.compress(zlib.decompress(data[begin:], -zlib.MAX_WBITS) + head)]
    pieces += [packing.compress(bytes(1 << 20)) for _ in range(zeros >> 20)]
    path.write_bytes(data[:begin] + b"".join([*pieces, packing.flush()]))
    return path


@pytest.mark.parametrize("how", [read_dataset, lambda path: read_header(path, ["SOPClassUID"])[0]])
def test_a_deflated_bomb_is_refused_before_it_takes_memory(tmp_path, how):
    path = deflated(tmp_path / "bomb.dcm", zeros=1 << 30)
    assert path.stat().st_size < 2 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        DamagedError, match=r"bomb\.dcm: its deflated data set holds more than 64 MiB"
    ):
        how(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("how", [read_dataset, lambda path: read_header(path, ["SOPClassUID"])[0]])
def test_a_real_deflated_file_is_read(tmp_path, how):
    assert how(deflated(tmp_path / "x.dcm", zeros=1 << 20)).SOPClassUID == CT
