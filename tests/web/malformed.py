"""Uploads that are almost what they should be."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

BOUNDARY = "b0undary"


def _nifti() -> bytes:
    image = nib.Nifti1Image(np.zeros((6, 6, 6), np.int16), np.eye(4))
    return image.to_bytes()


def _dicom() -> bytes:
    def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, kind, len(value)) + value

    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    body = (
        element(8, 0x60, b"CS", b"CT")
        + element(0x10, 0x10, b"PN", b"Secretname")
        + element(0x28, 0x10, b"US", b"\x04\0")
    )
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


def _zip(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


_WHOLE = {
    "ct.nii": _nifti(),
    "ct.nii.gz": gzip.compress(_nifti(), mtime=0),
    "ct.mgz": gzip.compress(bytes(400), mtime=0),
    "1.dcm": _dicom(),
    "ct.zip": _zip(("ct.nii", _nifti())),
    "study.zip": _zip(("s/1.dcm", _dicom()), ("s/2.dcm", _dicom())),
}


@st.composite
def contents(draw: st.DrawFn, whole: bytes | None = None) -> bytes:
    """This file or a valid one with bytes changed, removed, doubled or inserted; or any bytes."""
    some = st.sampled_from(sorted(_WHOLE.values())) | st.binary(max_size=600)
    data = bytearray(draw(some) if whole is None else whole)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["change", "cut", "insert", "double", "word"]))
        if how == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at:]
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        elif how == "double":
            data += data[at : at + 400]
        else:
            data[at : at + 4] = draw(
                st.sampled_from(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
                )
            )
    return bytes(data)


_names = st.sampled_from(
    [
        *_WHOLE,
        "s/1.dcm",
        "../x",
        "x\x00y.nii",
        'a";b="c.zip',
        "é.nii.gz",
        ".hidden",
        "a" * 3000 + ".nii",
        "",
    ]
) | st.text(max_size=40)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A multipart form of such files, which may itself be broken."""
    body = bytearray()
    if draw(st.booleans()):  # else hardly anything would be taken
        name = draw(st.sampled_from(sorted(_WHOLE)))
        disposition = f'form-data; name="files"; filename="{name}"'
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
        return head.encode() + draw(contents(_WHOLE[name])) + f"\r\n--{BOUNDARY}--\r\n".encode()
    for _ in range(draw(st.integers(0, 4))):
        field = draw(st.sampled_from(["files", "files", "files", "file", ""]))
        disposition = f'form-data; name="{field}"; filename="{draw(_names)}"'
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
        body += head.encode("utf-8", "replace")
        body += draw(contents()) + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    if draw(st.integers(0, 4)) == 0 and body:
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 30))] = draw(st.binary(max_size=30))
    return bytes(body)


def headers() -> dict[str, str]:
    """What a form like these is sent with."""
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
