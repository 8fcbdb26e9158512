"""The findings of ``index`` in each file, kept so that a second call reads only what has changed.

JSON lines: a row is added as soon as a case was checked, so that a call that is stopped loses
nothing, and the last row of a case counts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from nnstudent.cohort.check import Facts, file_stamp
from nnstudent.cohort.sources.source import Entry
from nnstudent.data_files import parse_json, read_json_lines
from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import make_folder, unwritable, write_lines
from nnstudent.io.record import data_hash
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)

NAME = "checks.jsonl"
CHECKS = 3  # to be raised when a check changes, so that files are checked again
_WHAT = "what index found before"


class CheckCache:
    """Results of earlier checks in ``checks.jsonl``; paths inside its folder are relative to it.

    A context manager; rows can be added inside it.
    """

    def __init__(self, folder: Path, taxonomy: Taxonomy) -> None:
        """Read the rows of earlier calls; a damaged file is named and not used.

        Args:
            folder: The cohort's folder.
            taxonomy: The label table that label maps are checked against.
        """
        self._path = folder / NAME
        self._folder = Path(os.path.abspath(folder))
        self._table = [(item.id, item.name) for item in taxonomy]
        self._rows: dict[str, str] = {}  # as text, which takes a fifth of the memory
        self._stale = False  # whether the file holds lines that do not count
        self._file: IO[bytes] | None = None
        if self._path.exists():
            self._load()

    def _load(self) -> None:
        def torn(line: str) -> None:
            log.warning("%s", line)
            self._stale = True

        try:
            for _, row in read_json_lines(self._path, what=_WHAT, torn=torn):
                id = str(row.get("id"))
                self._stale |= id in self._rows
                self._rows[id] = json.dumps(row, ensure_ascii=False)
        except InputError as error:
            log.warning("%s; the files are checked again", error)
            self._stale = True

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> CheckCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, and leave lines out that do not count."""
        with suppress(OSError, OutputError):  # an error within the block is the one to report
            if self._file is not None:
                self._file.close()
            if self._stale:
                self._rewrite()

    def find(self, entry: Entry, *, quick: bool = False) -> Facts | None:
        """The facts of a case, if neither its files nor the copies of them have changed.

        Args:
            entry: The case.
            quick: Whether facts will do that were found without reading the image's voxels.
        """
        text = self._rows.get(entry.id)
        if text is None:
            return None
        try:
            row = parse_json(text, where=NAME, what=_WHAT)
            stamps = [file_stamp(entry.image), file_stamp(entry.label)]
            if row["key"] != self._key(entry, stamps):
                return None
            facts = Facts.from_dict(row["facts"])
            facts = replace(
                facts,
                image=self._found(facts.image, entry.image),
                label=None if facts.label is None else self._found(facts.label, entry.label),
            )
            if facts.image is not entry.image:  # a copy
                stamps[0] = file_stamp(facts.image)
            if facts.label is not entry.label:
                stamps[1] = file_stamp(facts.label)
        except (KeyError, TypeError, ValueError, OSError, InputError):
            return None
        return facts if row["files"] == stamps and (facts.checked or quick) else None

    def add(self, entry: Entry, facts: Facts) -> None:
        """Add the facts of a case.

        Raises:
            OutputError: They cannot be written.
        """
        kept = replace(
            facts,
            image=self._stored(facts.image),
            label=None if facts.label is None else self._stored(facts.label),
        )
        sources = [file_stamp(entry.image), file_stamp(entry.label)]
        row = {
            "id": entry.id,
            "key": self._key(entry, sources),
            "files": [file_stamp(facts.image), file_stamp(facts.label)],
            "facts": kept.to_dict(),
        }
        text = json.dumps(row, ensure_ascii=False)
        try:
            file = self._open()
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
            file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._stale |= entry.id in self._rows
        self._rows[entry.id] = text

    def _open(self) -> IO[bytes]:
        if self._file is None:
            make_folder(self._folder)
            if self._stale:  # behind a line without an end, the next would be lost
                self._rewrite()
            self._file = self._path.open("ab")
        return self._file

    def _rewrite(self) -> None:
        write_lines(self._path, self._rows.values())
        self._stale = False

    def _found(self, path: Path, source: Path | None) -> Path:
        """Where a path of the file lies; the source's own object if it is the same."""
        found = self._folder / path
        return source if source is not None and source == found else found

    def _stored(self, path: Path) -> Path:
        absolute = Path(os.path.abspath(path))
        inside = absolute.is_relative_to(self._folder)
        return absolute.relative_to(self._folder) if inside else absolute

    def _key(self, entry: Entry, stamps: Sequence[Any]) -> str:
        """A hash of everything that the facts depend on; ``stamps`` are those of its files."""
        files: list[Any] = [
            os.path.abspath(entry.image),
            stamps[0],
            entry.label and os.path.abspath(entry.label),
            stamps[1],
        ]
        return data_hash([CHECKS, files, entry.ids and sorted(entry.ids.items()), self._table])
