"""Multipart forms: files are streamed to disk under names of our own, within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from nnstudent.errors import InputError
from nnstudent.io.archive import is_clutter
from nnstudent.web.names import disk_suffix, display_name
from nnstudent.web.settings import Limits

_OVERHEAD = 1000  # bytes of a multipart body for each file, in addition to the file
_TEXT_BYTES = 1_000_000  # of a text field


class TooLargeError(InputError):
    """An upload exceeds a limit."""


@dataclass(frozen=True)
class FormFile:
    """A file of a form.

    Attributes:
        field: Name of its field.
        name: The sender's name of it, which may have folders; only to be shown.
        path: Where it is.
    """

    field: str
    name: str
    path: Path


@dataclass
class Form:
    """A form that was received.

    Attributes:
        files: Its files, in order.
        texts: Its text fields, by name.
    """

    files: list[FormFile] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


@contextmanager
def sender_names(form: Form) -> Iterator[None]:
    """Put the sender's names of the files into an error that is raised meanwhile.

    Raises:
        InputError: As the block raises it.
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        for file in form.files:
            text = text.replace(str(file.path), display_name(file.name))
            text = text.replace(file.path.name, display_name(file.name))
        raise type(error)(text) from error


def disk_name(number: int, name: str) -> str:
    """Return the name of an uploaded file on disk."""
    return f"{number:05d}{disk_suffix(name)}"


@dataclass
class _Receiver:
    """Takes a multipart body apart, as callbacks of python-multipart."""

    folder: Path
    most_files: int
    file_fields: Collection[str]
    text_fields: Collection[str]
    form: Form = field(default_factory=Form)
    ended: bool = False
    _file: BinaryIO | None = None
    _text: tuple[str, bytearray] | None = None
    _header: tuple[bytes, bytes] = (b"", b"")
    _disposition: bytes = b""

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
        part = options.get(b"name", b"").decode("utf-8", "replace")
        if not name and part in self.text_fields:
            self._text = (part, bytearray())
            return
        if part not in self.file_fields or not name:
            raise InputError(_other_fields(self.file_fields, self.text_fields))
        if is_clutter(name):
            return
        if len(self.form.files) >= self.most_files:
            raise TooLargeError(f"more than {self.most_files} files; send one series")
        path = self.folder / disk_name(len(self.form.files), name)
        self._file = path.open("xb")
        self.form.files.append(FormFile(part, name, path))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._text is not None:
            self._text[1].extend(data[start:end])
            if len(self._text[1]) > _TEXT_BYTES:
                raise TooLargeError(f"a text of more than {_TEXT_BYTES} bytes in the form")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._text is not None:
            name, text = self._text
            self.form.texts[name] = text.decode("utf-8", "replace")
            self._text = None

    def _end(self) -> None:
        self.ended = True


async def receive_form(
    stream: AsyncIterator[bytes],
    content_type: str,
    folder: Path,
    limits: Limits,
    *,
    files: Collection[str],
    texts: Collection[str] = (),
) -> Form:
    """Write the files of a multipart body to a folder, and keep its texts.

    Args:
        stream: The body.
        content_type: Its ``Content-Type``, which names the boundary.
        folder: The folder.
        limits: Limits of size and number of files; nothing is read beyond them.
        files: Names of the fields that may be files.
        texts: Names of the fields that may be texts.

    Raises:
        InputError: It is not a well-formed multipart body of these fields.
        TooLargeError: There are too many files, or they are too large.
    """
    kind, options = parse_options_header(content_type)
    wanted = f"expected multipart/form-data with the field {' or '.join(map(repr, sorted(files)))}"
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InputError(f"not a form; {wanted}")
    receiver = _Receiver(folder, limits.files, files, texts)
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
        raise InputError(f"a malformed form; {wanted}") from error
    finally:
        receiver.close()
    if not receiver.ended:
        raise InputError("an incomplete form; send it again")
    return receiver.form


def largest_body(limits: Limits) -> int:
    """Return the largest number of bytes of an upload's body."""
    return limits.upload_bytes + limits.files * _OVERHEAD


def too_large(limits: Limits) -> str:
    """Return the message for a larger upload."""
    most = f"{limits.upload_bytes / 1e6:.0f} MB"
    return f"an upload of more than {most}; send a smaller part of the scan"


def _other_fields(files: Collection[str], texts: Collection[str]) -> str:
    if texts:
        named = ", ".join(map(repr, sorted([*files, *texts])))
        return f"a form with other fields; expected only {named}"
    return (
        f"a form with other fields; expected only the field {next(iter(files))!r}, with a file "
        "name, once for each file"
    )
