"""Content hashes of files, kept between calls: images of terabytes are not read for them again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import write_text
from nnstudent.io.parts import WHOLE, Part
from nnstudent.io.record import data_hash, file_hash, read_state


class FileHashes:
    """Does as :func:`~nnstudent.io.record.file_hash`, but remembers what it returned.

    A file is read again only if its path, size or modification time is another. A context manager,
    which keeps the hashes at its end. Several threads may call it.
    """

    def __init__(self, cache: Path, *, beside_results: bool = False) -> None:
        """Read the hashes of earlier calls; a damaged file is named and not used.

        Args:
            cache: The file that keeps them. Calls that run beside each other need one each.
            beside_results: Keep them only if the folder holds results in the end or the work is
                stopped, so that a call that makes none leaves nothing.
        """
        self._beside_results = beside_results
        self._cache = cache
        self._known: dict[str, str] = read_state(cache, what="hashes") or {}
        self._is_new = False

    def __call__(self, path: Path) -> str:
        """Return the hash of a file's content.

        Raises:
            InputError: The file is not a regular file.
            OSError: It is missing or cannot be read.
        """
        stat = path.stat()
        # The key is hashed too: a model folder names no path of this machine.
        key = data_hash([str(path), stat.st_size, stat.st_mtime_ns])
        if key not in self._known:
            self._known[key] = file_hash(path)
            self._is_new = True
        return self._known[key]

    def __enter__(self) -> FileHashes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep the hashes for the next call.

        Raises:
            OutputError: They cannot be written, and the block has raised nothing.
        """
        done = error is None or isinstance(error, InputError)
        if not self._is_new or (self._beside_results and done and not self._has_results()):
            return
        with suppress(*([OutputError] if error is not None else [])):
            write_text(self._cache, json.dumps(self._known) + "\n")

    def _has_results(self) -> bool:
        """Whether the folder holds more than states and locks."""
        folder = self._cache.parent
        return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def hashes_path(folder: Path, part: Part = WHOLE) -> Path:
    """Return where an output folder keeps the hashes of what it is made from, by part."""
    name = "" if part == WHOLE else f"-{part.name}"
    return folder / f".nnstudent{name}.hashes"
