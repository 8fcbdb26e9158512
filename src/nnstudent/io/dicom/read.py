"""One DICOM file: what it is by its content, whether it is whole, and its data set. Everything that pydicom raises ends here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nnstudent.errors import InputError, quoted, require

Kind = Literal["dicom", "blank", "other"]

_HEAD = 1024  # bytes that tell what a file is
_MARK = b"DICM"
_PREAMBLE = 128
_UNDEFINED = 0xFFFFFFFF
_ITEM, _END = (
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\xdd\xe0",
)  # of encapsulated pixels, always little endian
# A deflated data set is unpacked in memory: a few kB can become GBs. CT packs to a half, so these are far from any real one.
_UNPACKED, _SMALL, _PACKED = (
    1 << 30,
    1 << 26,
    50,
)  # bytes at most; of which always; times the file's size
REMEDY = "copy the series again, or move the file elsewhere if it is none of its slices"


class DamagedError(InputError):
    """A file is damaged, or cannot be read.

    Attributes:
        path: The file.
        series: UID of the series that it belongs to, as far as it says so.
    """

    def __init__(self, path: Path, reason: str, series: str = "") -> None:
        """Make the message of what is wrong and what to do."""
        super().__init__(f"{path}: {reason}; {REMEDY}")
        self.path, self.series = path, series

    @classmethod
    def of(cls, error: InputError, path: Path, series: str) -> DamagedError:
        """The same of an error that has its own message."""
        damaged = cls(path, "", series)
        damaged.args = error.args
        return damaged


def kind_of(path: Path) -> Kind:
    """What a regular file is.

    ``blank`` is what is empty, begins with zeros only or ends within the preamble. A file that begins with a DICOM element is DICOM
    also without preamble and mark.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\0") or (len(head) < _PREAMBLE and b"\0" in head):
        return "blank"
    return (
        "dicom"
        if _MARK in (head[_PREAMBLE : _PREAMBLE + 4], head[:4]) or _begins_with_element(head)
        else "other"
    )


def read(path: Path) -> Any:
    """Read a data set whole, with or without preamble, file meta information and transfer syntax.

    Args:
        path: A regular file.

    Returns:
        The pydicom data set; its ``file_meta.TransferSyntaxUID`` is always set.

    Raises:
        DamagedError: It is no DICOM, or damaged, or cannot be read.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with _damage(path), _opened(path) as file:
        _require_bounded(file, path, pydicom)
        return _complete(pydicom.dcmread(file, force=True), pydicom)


def read_header(path: Path, tags: Sequence[str]) -> tuple[Any, bool]:
    """Read elements of a data set, and see that the file does not end too early.

    Args:
        path: A regular file.
        tags: Keywords of the elements to read, those of the pixels not among them.

    Returns:
        The pydicom data set as :func:`read` gives it, and whether pixels follow.

    Raises:
        DamagedError: As :func:`read`; or the file ends too early.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with _damage(path), _opened(path) as file:
        _require_bounded(file, path, pydicom)
        dataset = _complete(
            pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(tags)),
            pydicom,
        )
        if dataset.file_meta.TransferSyntaxUID == pydicom.uid.DeflatedExplicitVRLittleEndian:
            return dataset, True  # what is behind the header is seen when it is unpacked
        ends, pixels = _end(file, *dataset.original_encoding)
        if ends:
            raise DamagedError(path, f"damaged DICOM ({ends})", series_of(dataset))
    return dataset, pixels


def series_of(dataset: Any) -> str:
    """Series instance UID of a data set that may be malformed; empty where it has none."""
    try:
        return str(dataset.get("SeriesInstanceUID") or "")
    except Exception:  # whatever a malformed value does to the library
        return ""


def _complete(dataset: Any, pydicom: Any) -> Any:
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        )
    return dataset


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise DamagedError(path, f"cannot be read ({error.strerror or quoted(error)})") from error
    except RecursionError as error:
        raise DamagedError(path, "damaged DICOM (sequences nested too deeply)") from error
    except Exception as error:  # a malformed file makes the library raise anything
        raise DamagedError(path, f"damaged DICOM ({type(error).__name__})") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if file.read(4) == _MARK:  # the mark without the preamble before it
            yield io.BytesIO(bytes(_PREAMBLE) + _MARK + file.read())
            return
        file.seek(0)
        yield file


def _require_bounded(file: BinaryIO, path: Path, pydicom: Any) -> None:
    """Refuse a deflated data set that would take all memory; the file is at its begin afterwards.

    Raises:
        DamagedError: It holds more than an image that is so well packed can.
    """
    pydicom.filereader.read_preamble(file, force=True)
    elements = pydicom.filereader.data_element_generator(
        file, False, True, stop_when=lambda tag, *_: tag.group != 2
    )
    syntaxes = [element.value for element in elements if element.tag == 0x00020010]
    deflated = pydicom.uid.DeflatedExplicitVRLittleEndian.encode()
    if any(bytes(value).rstrip(b"\0 ") == deflated for value in syntaxes):
        packed = file.read()
        left = most = min(_UNPACKED, max(_SMALL, _PACKED * len(packed)))
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        while not unpacking.eof and packed and left > 0:
            left -= len(unpacking.decompress(packed, min(left, 1 << 24)))
            packed = unpacking.unconsumed_tail
        if left <= 0:
            raise DamagedError(
                path, f"its deflated data set holds more than {most >> 20} MiB; expected an image"
            )
    file.seek(0)


def _begins_with_element(head: bytes) -> bool:
    """Whether a file without preamble begins with an element of the first groups that DICOM files have."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (0x0002, 0x0008) or element > 0x2000:
            continue
        if head[4:6].isalpha() and head[4:6].isupper():
            return True
        if (
            struct.unpack_from(f"{order}I", head, 4)[0] <= _PREAMBLE
        ):  # implicit VR: the first elements are short
            return True
    return False


def _end(file: BinaryIO, implicit: bool, little: bool) -> tuple[str, bool]:
    """How a file whose header was read up to the pixels ends too early, or nothing; and whether it has pixels."""
    here = file.tell()
    size = file.seek(0, io.SEEK_END)
    if here > size:
        return "it ends within its header", False
    file.seek(here)
    head = file.read(12)
    if not head:
        return "", False
    start = here + (8 if implicit else 12)
    order = "<" if little else ">"
    if len(head) < start - here:
        return "it ends within its header", False
    (length,) = struct.unpack_from(f"{order}I", head, 4 if implicit else 8)
    if length == _UNDEFINED:
        return "" if _closed(file, start, size) else "it ends within its compressed pixels", True
    missing = start + length - size
    return f"it ends {missing} bytes too early, within its pixels" if missing > 0 else "", True


def _closed(file: BinaryIO, start: int, size: int) -> bool:
    """Whether the items of encapsulated pixels follow each other up to their end mark."""
    place = start
    while place + 8 <= size:
        file.seek(place)
        tag, length = file.read(4), int.from_bytes(file.read(4), "little")
        if tag == _END:
            return True
        if tag != _ITEM:
            return False
        place += 8 + length
    return False
