"""Streams the parts of a multipart/related response to files, under names of our own."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from nnstudent.errors import InputError


class Parts:
    """Writes parts as ``00000.dcm``, ``00001.dcm``, … as they arrive.

    A context manager that closes the last file.

    Attributes:
        count: Number of complete parts.
        ended: Whether the body is complete.
    """

    def __init__(self, folder: Path, content_type: str, *, most: int) -> None:
        """Write the parts to a folder.

        Args:
            folder: The folder.
            content_type: ``Content-Type`` of the body, which names the boundary.
            most: Largest number of parts.

        Raises:
            InputError: The body does not consist of parts.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/related" or not options.get(b"boundary"):
            raise InputError("a response that is not multipart/related; expected DICOM files")
        self.count = 0
        self.ended = False
        self._folder = folder
        self._most = most
        self._file: BinaryIO | None = None
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, chunk: bytes) -> None:
        """Process a piece of the body.

        Raises:
            InputError: It is malformed, or has too many parts.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InputError(
                "a response with malformed parts; expected multipart/related"
            ) from error

    def _begin(self) -> None:
        if self.count >= self._most:
            raise InputError(
                f"more than {self._most} files; raise --limit-files, or send one series"
            )
        self._file = (self._folder / f"{self.count:05d}.dcm").open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def _part_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self.count += 1

    def _end(self) -> None:
        self.ended = True
