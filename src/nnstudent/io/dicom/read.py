"""Reads one DICOM file; whatever pydicom raises or prints ends here."""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nnstudent.errors import InputError, quoted, require

Kind = Literal["dicom", "blank", "other"]

_HEAD = 1024  # bytes that show what a file is
_MARK = b"DICM"
_PREAMBLE = 128
_UNDEFINED = 0xFFFFFFFF
# Tags of encapsulated pixels, always little endian.
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
# A deflated data set is inflated in memory, where a few kB can become GB. CT deflates to a half, so
# that these limits are far from any real file.
_MOST_INFLATED = 1 << 30  # bytes
_ALWAYS_INFLATED = 1 << 26  # bytes
_MOST_RATIO = 50  # times the file's size
_LIBRARIES = ("pydicom", "highdicom")
_REMEDY = "copy the series again, or move the file elsewhere if it does not belong to it"


class DamagedError(InputError):
    """A file is damaged, or cannot be read.

    Attributes:
        path: The file.
        series: UID of the series that it belongs to; empty if it does not say.
    """

    def __init__(self, path: Path, reason: str, series: str = "") -> None:
        """Compose the message from what is wrong and what to do."""
        super().__init__(f"{path}: {reason}; {_REMEDY}")
        self.path, self.series = path, series

    @classmethod
    def of(cls, error: InputError, path: Path, series: str) -> DamagedError:
        """Return a damage with the message of another error."""
        damaged = cls(path, "", series)
        damaged.args = error.args
        return damaged


class _Silence:
    """The filters of warnings and loggers, which all threads share: the last one restores them."""

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = threading.Lock(), 0, ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._kept.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for name in _LIBRARIES:
                logger = logging.getLogger(name)
                self._kept.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)

    def end(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._kept.close()


_silence = _Silence()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the DICOM libraries from printing malformed values, which may name the patient."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def stay_quiet() -> None:
    """Do as :func:`quiet` for the rest of the process: a service prints nothing of a scan."""
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})\.")
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def kind_of(path: Path) -> Kind:
    """Recognize a regular file by its content.

    A file is ``blank`` if it is empty, begins with zeros only, or ends within the preamble. A file
    that begins with a DICOM element is DICOM even without preamble and mark.

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


def read_dataset(path: Path) -> Any:
    """Read a whole data set, with or without preamble, file meta information and transfer syntax.

    Args:
        path: A regular file.

    Returns:
        The pydicom data set; its ``file_meta.TransferSyntaxUID`` is always set.

    Raises:
        DamagedError: The file is not DICOM, is damaged, or cannot be read.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with _damage(path), _opened(path) as file:
        _require_bounded(file, path, pydicom)
        return _complete(pydicom.dcmread(file, force=True), pydicom)


def read_header(path: Path, tags: Sequence[str]) -> tuple[Any, bool]:
    """Read some elements of a data set, and check that the file does not end too early.

    Args:
        path: A regular file.
        tags: Keywords of the elements to read; not those of the pixels.

    Returns:
        The pydicom data set as :func:`read_dataset` returns it, and whether pixels follow.

    Raises:
        DamagedError: See :func:`read_dataset`; or the file ends too early.
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
            return dataset, True  # what follows the header shows when it is inflated
        ends, pixels = _end(file, *dataset.original_encoding)
        if ends:
            raise DamagedError(path, f"damaged DICOM ({ends})", series_of(dataset))
    return dataset, pixels


def series_of(dataset: Any) -> str:
    """Return the series UID of a data set that may be malformed; empty if it has none."""
    try:
        return str(dataset.get("SeriesInstanceUID") or "")
    except Exception:  # a malformed value makes the library raise anything
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
    """Refuse a deflated data set that would fill the memory. Rewinds the file.

    Raises:
        DamagedError: The data set inflates to more than an image of this file size can hold.
    """
    pydicom.filereader.read_preamble(file, force=True)
    elements = pydicom.filereader.data_element_generator(
        file, False, True, stop_when=lambda tag, *_: tag.group != 2
    )
    syntaxes = [element.value for element in elements if element.tag == 0x00020010]
    deflated = pydicom.uid.DeflatedExplicitVRLittleEndian.encode()
    if any(bytes(value).rstrip(b"\0 ") == deflated for value in syntaxes):
        packed = file.read()
        left = most = min(_MOST_INFLATED, max(_ALWAYS_INFLATED, _MOST_RATIO * len(packed)))
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
    """Whether a file without preamble begins with an element of the groups that come first."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (0x0002, 0x0008) or element > 0x2000:
            continue
        if head[4:6].isalpha() and head[4:6].isupper():
            return True
        # Implicit VR: the first elements are short.
        if struct.unpack_from(f"{order}I", head, 4)[0] <= _PREAMBLE:
            return True
    return False


def _end(file: BinaryIO, implicit: bool, little: bool) -> tuple[str, bool]:
    """How a file that was read up to the pixels ends too early, if it does; whether it has any."""
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
    """Whether the items of encapsulated pixels are complete up to their end mark."""
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
