from __future__ import annotations

import resource
import struct
import subprocess
import sys
import warnings
import zlib

import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import DeflatedExplicitVRLittleEndian  # noqa: E402

from nnstudent.io.dicom.read import DamagedError, quiet, read_dataset, read_header  # noqa: E402
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


def test_what_one_thread_restores_makes_no_other_thread_print(recwarn):
    """The filters of warnings belong to the process: the last to end restores them."""
    first, second = quiet(), quiet()
    before = list(warnings.filters)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("Secretname", stacklevel=1)
    second.__exit__(None, None, None)
    assert not recwarn.list
    assert warnings.filters == before


def test_a_service_stays_quiet_whoever_restores_the_filters():
    code = """
import logging, warnings
from nnstudent.io.dicom.read import quiet, stay_quiet
stay_quiet()
with quiet():
    pass
warnings.warn_explicit("Secretname", UserWarning, "valuerep.py", 1, module="pydicom.valuerep")
logging.getLogger("pydicom").error("Secretname")
warnings.warn_explicit("of another", UserWarning, "a.py", 1, module="a")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Secretname" not in done.stderr
    assert "of another" in done.stderr
