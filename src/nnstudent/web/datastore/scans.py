"""The scans of a folder; an id that a client sends is looked up in a table, never a path."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.dicom.contents import holds_dicom
from nnstudent.io.dicom.read import kind_of, read_header
from nnstudent.io.finder import list_folder
from nnstudent.io.nifti import stem
from nnstudent.web.job import Kind
from nnstudent.web.names import image_name, series_name

CORRECTED = "corrected"  # the folder of the corrections, in that of the scans
_DEPTH = 4  # folders below the datastore's that are searched
_FRESH_SECONDS = 5.0  # a listing that is younger is used again
_LONGEST = 100  # characters of an id


class NotFoundError(InputError):
    """There is no such scan, label, model or strategy."""


class ConflictError(InputError):
    """Somebody else was first."""


@dataclass(frozen=True)
class Scan:
    """One scan of a datastore.

    Attributes:
        id: Its id, which can name a case.
        name: What it is called on the page.
        source: The image file, or the folder of the DICOM series.
        kind: What ``source`` is.
        series: The SeriesInstanceUID of a DICOM series, by which viewers know it.
    """

    id: str
    name: str
    source: Path
    kind: Kind
    series: str = ""

    @property
    def stamp(self) -> str:
        """What changes when the scan is replaced.

        Raises:
            NotFoundError: The scan was deleted.
        """
        try:
            found = self.source.stat()
        except OSError as error:
            raise NotFoundError(f"{self.id}: the scan is no longer in the datastore") from error
        return f"{found.st_mtime_ns}-{found.st_size}"


class Scans:
    """The scans of a folder. Every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Use a folder.

        Raises:
            InputError: It is not a folder, or cannot be read.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected a folder of scans")
        self.folder = folder
        self._lock = threading.RLock()
        self._scans: dict[str, Scan] = {}
        self._aliases: dict[str, str] = {}
        self._series: dict[Path, str] = {}
        self._seen: set[str] = set()
        self._read = 0.0
        self.all()

    def all(self, *, again: bool = False) -> tuple[Scan, ...]:
        """Return the scans, by id.

        Args:
            again: Look at the folder again even if that was done a moment ago.

        Raises:
            InputError: The folder cannot be read.
        """
        with self._lock:
            if again or not self._read or time.monotonic() - self._read > _FRESH_SECONDS:
                self._look()
            return tuple(self._scans.values())

    def find(self, id: str) -> Scan:
        """Return a scan by its id or its SeriesInstanceUID.

        Raises:
            NotFoundError: There is none.
        """
        with self._lock:
            for again in (False, True):
                self.all(again=again)
                scan = self._scans.get(self._aliases.get(id, id))
                if scan is not None and scan.source.exists():
                    return scan
        raise NotFoundError("no such scan in the datastore; it may have been deleted")

    def was_here(self, id: str) -> bool:
        """Return whether there has been a scan of this id since the service started."""
        return id in self._seen

    def free_id(self, name: str) -> str:
        """Return an id for a scan that is to be added, made of the name that somebody gave it."""
        return _slug(name)

    def _look(self) -> None:
        try:
            found = list(self._search(self.folder, _DEPTH))
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be read ({error.strerror}); choose a folder that you may "
                "read"
            ) from error
        self._scans, self._aliases = {}, {}
        for scan in sorted(found, key=lambda scan: scan.id):
            id = scan.id
            if id.lower() in (other.lower() for other in self._scans):  # a_b/c and a/b_c
                id = f"{id[:_LONGEST]}-{hashlib.sha256(str(scan.source).encode()).hexdigest()[:8]}"
                scan = Scan(id, scan.name, scan.source, scan.kind, scan.series)
            self._scans[id] = scan
            self._seen |= {id, scan.series} - {""}
            if scan.series:
                self._aliases[scan.series] = id
        self._read = time.monotonic()

    def _search(self, folder: Path, depth: int) -> Iterator[Scan]:
        listing = list_folder(folder)
        for path in listing.images:
            place = path.relative_to(self.folder)
            name = str(place.with_name(stem(path)))
            yield Scan(_slug(name), image_name(str(place)), path, "image")
        if holds_dicom(folder):
            place = folder.relative_to(self.folder)
            name = str(place) if place.parts else folder.name
            yield Scan(_slug(name), series_name(name), folder, "dicom", self._series_of(folder))
        for below in listing.folders:
            if depth and below != self.folder / CORRECTED:
                yield from self._search(below, depth - 1)

    def _series_of(self, folder: Path) -> str:
        """Return the UID of a series, from the first of its files; an empty text if it has none."""
        if folder not in self._series:
            self._series[folder] = ""
            for path in sorted(folder.iterdir()):
                if path.is_file() and kind_of(path) == "dicom":
                    with suppress(NnStudentError):
                        header, _ = read_header(path, ["SeriesInstanceUID"])
                        self._series[folder] = str(header.get("SeriesInstanceUID") or "")
                    break
        return self._series[folder]


def _slug(name: str) -> str:
    """Return a name as an id: letters, digits, ``_ . -`` only, which can name a case and a file."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-") or "scan"
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return text
