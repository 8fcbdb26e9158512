"""Uploads: streamed to disk under names of our own, within limits, and checked for a scan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from nnstudent.errors import InputError
from nnstudent.io.archive import checked_entries, is_clutter, unpack
from nnstudent.io.atomic import write_json
from nnstudent.io.dicom.read import kind_of
from nnstudent.web.job import NAMES, Kind
from nnstudent.web.jobs import Draft, Jobs
from nnstudent.web.names import (
    ARCHIVE,
    IMAGES,
    disk_suffix,
    display_name,
    display_path,
    top_folder,
)
from nnstudent.web.settings import Limits

_OVERHEAD = 1000  # bytes of a multipart body for each file, in addition to the file
_FIELD = b"files"


def _disk_name(number: int, name: str) -> str:
    return f"{number:05d}{disk_suffix(name)}"


class TooLargeError(InputError):
    """An upload exceeds a limit."""


@dataclass
class _Receiver:
    """Writes each file of a multipart body to a folder, as callbacks of python-multipart."""

    folder: Path
    most_files: int
    files: list[tuple[str, Path]] = field(default_factory=list)
    _file: BinaryIO | None = None
    _header: tuple[bytes, bytes] = (b"", b"")
    _disposition: bytes = b""
    _ended: bool = False

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add(data[start:end], b""),
                "on_header_value": lambda data, start, end: self._add(b"", data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._open,
                "on_part_data": self._data,
                "on_part_end": self.close,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._header, self._disposition = (b"", b""), b""

    def _add(self, name: bytes, value: bytes) -> None:
        self._header = self._header[0] + name, self._header[1] + value

    def _header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (b"", b"")

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        if options.get(b"name") != _FIELD or not name:
            raise InputError(
                "a form with other fields; expected only the field 'files', with a file name, "
                "once for each file"
            )
        if is_clutter(name):
            return
        if len(self.files) >= self.most_files:
            raise TooLargeError(f"more than {self.most_files} files; send one series")
        path = self.folder / _disk_name(len(self.files), name)
        self._file = path.open("xb")
        self.files.append((name, path))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._ended = True

    @property
    def ended(self) -> bool:
        return self._ended


async def receive_files(
    stream: AsyncIterator[bytes], content_type: str, folder: Path, limits: Limits
) -> list[tuple[str, Path]]:
    """Write the files of a multipart body to a folder.

    Args:
        stream: The body.
        content_type: Its ``Content-Type``, which names the boundary.
        folder: The folder.
        limits: Limits of size and number of files; nothing is read beyond them.

    Returns:
        For each file, the sender's name and its path.

    Raises:
        InputError: It is not a well-formed multipart body of files.
        TooLargeError: There are too many files, or they are too large.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InputError("not a form; expected multipart/form-data with the field 'files'")
    receiver = _Receiver(folder, limits.files)
    size, most = 0, largest_body(limits)
    try:
        parser = receiver.parser(options[b"boundary"])
        async for chunk in stream:
            size += len(chunk)
            if size > most:
                raise TooLargeError(too_large(limits))
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except FormParserError as error:
        raise InputError(
            "a malformed form; expected multipart/form-data with the field 'files'"
        ) from error
    finally:
        receiver.close()
    if not receiver.ended:
        raise InputError("an incomplete form; send it again")
    return receiver.files


def largest_body(limits: Limits) -> int:
    """Return the largest number of bytes of an upload's body."""
    return limits.upload_bytes + limits.files * _OVERHEAD


def too_large(limits: Limits) -> str:
    """Return the message for a larger upload."""
    most = f"{limits.upload_bytes / 1e6:.0f} MB"
    return f"an upload of more than {most}; send a smaller part of the scan"


def classify_upload(
    files: list[tuple[str, Path]], draft: Draft, jobs: Jobs, limits: Limits
) -> tuple[str, Kind]:
    """Find out what was sent, and leave only the scan in the draft; an archive is unpacked.

    Args:
        files: From :func:`receive_files`.
        draft: Where they are.
        jobs: Reserves disk space for unpacking.
        limits: Limits of size and number of files.

    Returns:
        Name to display, and kind of scan.

    Raises:
        InputError: It cannot be segmented.
        FullError: There is not enough disk space for unpacking.
    """
    archive_name = ""
    if len(files) == 1 and files[0][1].name.endswith(ARCHIVE):
        ((archive_name, received),) = files
        archive = received.rename(draft.folder / f"archive{ARCHIVE}")
        wanted = checked_entries(archive, most_files=limits.files, most_bytes=limits.upload_bytes)
        jobs.reserve(draft, archive.stat().st_size + sum(item.file_size for item in wanted))
        files = unpack(archive, wanted, draft.input, disk_name=_disk_name)
        archive.unlink()
    if not files:
        raise InputError(
            "no file; expected one NIfTI file, the files of a DICOM folder, or a ZIP archive of "
            "either"
        )
    if any(path.name.endswith(ARCHIVE) for _, path in files):
        raise InputError(
            f"an archive among {len(files)} files; send it alone, or the files themselves"
        )
    images = [(name, path) for name, path in files if path.name.endswith(IMAGES)]
    if len(images) > 1 or (images and len(files) > 1):
        others = (
            f"{len(images)} image files"
            if len(images) > 1
            else f"an image file among {len(files)} files"
        )
        raise InputError(
            f"{others}; expected one NIfTI file, or the files of one DICOM folder, for each job"
        )
    if images:
        ((name, path),) = images
        _check_image(path)
        return display_name(name), "image"
    if not any(kind_of(path) == "dicom" for _, path in files):
        sent = (
            "one file, which is not DICOM"
            if len(files) == 1
            else f"{len(files)} files, none of them DICOM"
        )
        raise InputError(
            f"{sent}; expected {', '.join(IMAGES)}, the files of a DICOM folder, or a ZIP archive "
            "of either"
        )
    write_json(draft.folder / NAMES, {path.name: display_path(name) for name, path in files})
    first = files[0][0]
    return display_name(
        archive_name or top_folder(first) or (first if len(files) == 1 else "")
    ), "dicom"


def _check_image(path: Path) -> None:
    """Check that the file's first bytes match its suffix; the worker checks everything else."""
    with path.open("rb") as file:
        head = file.read(4)
    packed = path.name.endswith((".gz", ".mgz"))
    if len(head) < 4 or packed != (head[:2] == b"\x1f\x8b"):
        raise InputError(
            "an image file whose content does not match its suffix; "
            "use the suffix that it was written with"
        )
