"""The size that a compressed frame claims for itself, read before anything is decoded.

A decoder allocates what the codestream says, not what the DICOM header says: 100 bytes of JPEG 2000
can claim 65,535 × 65,535 pixels.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

from nnstudent.errors import InputError, require

_SOC_SIZ = b"\xff\x4f\xff\x51"  # how each codestream of JPEG 2000 begins, high-throughput too
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"  # the file format around such a codestream
_SOI = b"\xff\xd8"
# Start-of-frame markers of JPEG, the lossless ones among them, and of JPEG-LS (0xF7).
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


class FrameSize(NamedTuple):
    """What a codestream holds.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Values per pixel.
    """

    rows: int
    columns: int
    samples: int

    def __str__(self) -> str:
        return f"{self.columns}×{self.rows} pixels" + (
            "" if self.samples == 1 else f" of {self.samples} values"
        )


def frame_size(codestream: bytes) -> FrameSize | None:
    """Read the size from the headers of a codestream.

    Args:
        codestream: One frame, compressed as JPEG, JPEG-LS or JPEG 2000.

    Returns:
        The size; None if the headers hold none.
    """
    if codestream.startswith((_SOC_SIZ, _JP2)):
        return _jpeg2000_size(codestream)
    return _jpeg_size(codestream) if codestream.startswith(_SOI) else None


def check_frames(dataset: Any, path: Path) -> None:
    """Refuse compressed frames whose codestreams are not of the size that the header states.

    Run-length encoded frames state no size and grow by a factor of 64 at most; decoders compare
    their length with the header.

    Args:
        dataset: A pydicom data set with compressed pixels.
        path: Its file, for the error.

    Raises:
        InputError: A frame is of another size, or its size cannot be read.
    """
    pydicom: Any = require("pydicom", extra="dicom", why="reading DICOM")
    if dataset.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless:
        return
    stated = FrameSize(dataset.Rows, dataset.Columns, int(dataset.get("SamplesPerPixel") or 1))
    tables = [dataset.get(f"ExtendedOffsetTable{end}") for end in ("", "Lengths")]
    frames = pydicom.encaps.generate_frames(
        dataset.PixelData,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=tuple(tables) if all(tables) else None,
    )
    for number, codestream in enumerate(frames, start=1):
        size = frame_size(codestream)
        if size is None:
            raise InputError(
                f"{path}: compressed frame {number} does not say how large it is; "
                "copy the series again"
            )
        if size != stated:
            raise InputError(
                f"{path}: compressed frame {number} holds {size}, the header states {stated}; "
                "copy the series again"
            )


def _jpeg2000_size(codestream: bytes) -> FrameSize | None:
    begin = codestream.find(_SOC_SIZ)
    if begin < 0 or len(codestream) < begin + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", codestream, begin + 8)
    (samples,) = struct.unpack_from(">H", codestream, begin + 40)
    return FrameSize(bottom - top, right - left, samples)


def _jpeg_size(codestream: bytes) -> FrameSize | None:
    at = 2
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _SOF and at + 10 <= len(codestream):
            rows, columns, samples = struct.unpack_from(">HHB", codestream, at + 5)
            return FrameSize(rows, columns, samples)
        else:
            (length,) = struct.unpack_from(">H", codestream, at + 2)
            if length < 2:
                return None
            at += 2 + length
    return None
