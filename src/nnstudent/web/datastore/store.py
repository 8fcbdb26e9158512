"""A datastore at work: its scans, their segmentations, and the corrections of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.bundle import Model
from nnstudent.cohort.corrections import Corrections, Submission
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.ledger import LedgerRow
from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import replacing
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume
from nnstudent.web.datastore.scans import CORRECTED, ConflictError, NotFoundError, Scan, Scans
from nnstudent.web.job import FINISHED, Job
from nnstudent.web.jobs import SHARED, Jobs
from nnstudent.words import did_you_mean


@dataclass(frozen=True)
class Sent:
    """A label map as somebody sent it.

    Attributes:
        path: The file.
        by: Who sent it.
        ids: The class of each value in the file, if it is not numbered as the label table is.
        confirmed: The classes that were looked for; None for all that occur.
        version: The version that was corrected; None if it is not known.
    """

    path: Path
    by: str
    ids: dict[int, str] | None = None
    confirmed: Sequence[str] | None = None
    version: int | None = None


@dataclass(frozen=True)
class Saved:
    """What became of a label map that was sent.

    Attributes:
        confirmed: The classes that are truth now.
        kept: Where it was kept as it came, in the folder of the corrections.
        version: The scan's version now.
        warnings: What the sender should know.
    """

    confirmed: tuple[str, ...]
    kept: str
    version: int
    warnings: tuple[str, ...]


class Store:
    """The datastore of a service. Every method may be called from any thread."""

    def __init__(self, folder: Path, jobs: Jobs, model: Model) -> None:
        """Use a folder of scans.

        Raises:
            InputError: The folder cannot be read, or its corrections have another label table.
        """
        self.scans = Scans(folder)
        self.corrections = Corrections(folder / CORRECTED, model.taxonomy)
        self.model = model
        self._jobs = jobs
        self._lock = threading.RLock()

    @property
    def taxonomy(self) -> Taxonomy:
        """The label table."""
        return self.model.taxonomy

    def result(self, scan: Scan) -> Job | None:
        """Return the job that segmented a scan with this model; None if there is none.

        Raises:
            NotFoundError: The scan was deleted.
        """
        origin = self._origin(scan)
        found = [
            job
            for job in self._jobs.all()
            if job.owner == SHARED and job.state != "failed" and _is_from(job, origin)
        ]
        return found[-1] if found else None

    def request(self, scan: Scan) -> Job:
        """Return the job that segments a scan, which is queued unless there is one.

        Raises:
            NotFoundError: The scan was deleted.
            FullError: There is no room for another job.
        """
        with self._lock:
            job = self.result(scan)
            if job is not None:
                return job
            with self._jobs.draft(reserve=0) as draft:
                if scan.kind == "image":
                    suffix = "".join(scan.source.suffixes[-2:]).lower()
                    suffix = suffix if suffix in (".nii.gz", ".mgz", ".mgh") else ".nii"
                    _link(scan.source, draft.input / f"00000{suffix}")
                else:
                    files = sorted(path for path in scan.source.iterdir() if path.is_file())
                    for number, path in enumerate(files):
                        _link(path, draft.input / f"{number:05d}.dcm")
                origin = self._origin(scan)
                return self._jobs.add(
                    draft, owner=SHARED, name=scan.name, kind=scan.kind, origin=origin
                )

    def image_file(self, scan: Scan) -> Path:
        """Return a scan as one image file.

        Raises:
            NotFoundError: It was deleted.
            InputError: It is a DICOM series that has not been segmented.
        """
        if scan.kind == "image":
            scan.stamp  # noqa: B018  # raises if it was deleted
            return scan.source
        job = self.result(scan)
        if job is None or job.state not in FINISHED:
            raise InputError(f"{scan.id}: a series that has not been segmented; run it first")
        return job.output / "image.nii.gz"

    def add(self, name: str, file: Path) -> Scan:
        """Add a scan that somebody sent.

        Args:
            name: What it is called.
            file: A NIfTI or MGH file.

        Raises:
            ConflictError: There is another scan of this name.
            OutputError: The folder cannot be written.
        """
        id = self.scans.free_id(name)
        suffix = next(end for end in (".nii.gz", ".nii", ".mgz", ".mgh") if file.name.endswith(end))
        path = self.scans.folder / f"{id}{suffix}"
        with self._lock:
            try:
                known: Scan | None = self.scans.find(id)
            except NotFoundError:
                known = None
            if known is not None and not _same(known.source, file):
                raise ConflictError(f"{id}: there is another scan of this name; rename yours")
            if known is None:
                read_grid(file)  # refuses what is not an image
                with replacing(path) as temporary:
                    shutil.copyfile(file, temporary)
            self.scans.all(again=True)
            return self.scans.find(id)

    def version(self, scan: str) -> int:
        """Return how often a scan was corrected."""
        folder = self.corrections.folder / "submissions" / scan
        return len(list(folder.iterdir())) if folder.is_dir() else 0

    def confirmed(self, scan: str) -> tuple[LedgerRow, ...]:
        """Return who confirmed which classes of a scan."""
        return self.corrections.rows(scan)

    def submit(self, id: str, sent: Sent) -> Saved:
        """Take over a correction.

        Raises:
            NotFoundError: The scan was deleted; the label is kept all the same.
            ConflictError: Somebody corrected the scan meanwhile.
            GeometryError: The label is on another grid.
            InputError: The label cannot be read, or has a class that is not in the table.
            OutputError: It cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            try:
                scan = self.scans.find(id)
                image = self.image_file(scan)
            except NotFoundError as error:
                return self._keep_orphan(id, sent, now, error)
            version = self.version(scan.id)
            if sent.version is not None and sent.version != version:
                raise ConflictError(self._who_was_first(scan.id))
            labels = self._labels(scan, image, sent)
            present = {self.taxonomy.by_id(int(id)).name for id in np.unique(labels.array) if id}
            confirmed = self.taxonomy.sorted(present if sent.confirmed is None else sent.confirmed)
            unknown = [name for name in confirmed if name not in self.model.classes]
            if unknown:
                raise InputError(f"{unknown[0]}: not a class of this model")
            kept = self.corrections.keep(scan.id, sent.path, by=sent.by, at=now)
            warnings = self.corrections.add(
                Submission(
                    scan.id,
                    image,
                    labels,
                    confirmed,
                    sent.by,
                    now,
                    copy=scan.kind == "dicom",
                )
            )
        return Saved(
            confirmed,
            kept.relative_to(self.corrections.folder).as_posix(),
            self.version(scan.id),
            warnings,
        )

    def merged(self, scan: str, result: Path, place: Path) -> Path:
        """Return a result with what was corrected laid over it.

        Args:
            scan: Id of the scan.
            result: The label map of the model.
            place: Where the merged label map is written.

        Raises:
            InputError: A label map cannot be read.
            OutputError: ``place`` cannot be written.
        """
        case = next((case for case in self.corrections.cohort() if case.id == scan), None)
        if case is None or case.label is None:
            return result
        found = read_labels(result)
        ids = [self.taxonomy[name].id for name in case.annotated]
        truth = read_labels(case.label).array
        merged = fuse(truth, found.array, annotated=ids, taxonomy=self.taxonomy)
        write_labels(place, Volume(merged, found.grid))
        return place

    def _labels(self, scan: Scan, image: Path, sent: Sent) -> Volume:
        """Read a label map that was sent, with the ids of the table."""
        grid = read_grid(image)
        what, advice = f"{scan.id}: the label", "correct the label map on the scan's own grid"
        grid.require(read_grid(sent.path), what=what, advice=advice)
        labels = read_labels(sent.path)
        if sent.ids is None:
            return labels
        table = np.zeros(256, np.uint8)
        for value in np.unique(labels.array):
            if not value:
                continue
            name = sent.ids.get(int(value))
            if name is None:
                raise InputError(
                    f"{what} has the value {int(value)}, which label_info does not name"
                )
            (known,) = self._known(name)
            table[value] = self.taxonomy[known].id
        return Volume(table[labels.array], labels.grid)

    def _known(self, name: str) -> tuple[str, ...]:
        try:
            return self.taxonomy.sorted([name])
        except InputError:
            hint = did_you_mean(name, self.taxonomy.names)
            raise InputError(
                f"{name}: no class of the label table {self.taxonomy.name}{hint or '; rename it'}"
            ) from None

    def _keep_orphan(self, id: str, sent: Sent, now: str, error: NotFoundError) -> Saved:
        """Keep the label of a scan that was deleted, if there ever was one, and say where it is."""
        safe = self.scans.free_id(id)
        if self.scans.was_here(id) or self.version(safe):
            kept = self.corrections.keep(safe, sent.path, by=sent.by, at=now)
            place = kept.relative_to(self.corrections.folder.parent).as_posix()
            raise NotFoundError(f"{error}; the label is kept as {place}") from error
        raise error

    def _who_was_first(self, scan: str) -> str:
        rows = self.confirmed(scan)
        last = max(rows, key=lambda row: row.at or "", default=None)
        who = f"{last.by} corrected this scan at {last.at}" if last else "it was corrected"
        return f"{who} while you did; open it again and apply yours, or submit yours over it"

    def _origin(self, scan: Scan) -> dict[str, Any]:
        return {"scan": scan.id, "stamp": scan.stamp, "model": self.model.hash}


def _is_from(job: Job, origin: dict[str, Any]) -> bool:
    return all(job.origin.get(key) == value for key, value in origin.items())


def _link(source: Path, place: Path) -> None:
    """Make a scan appear in the input of a job, without a copy where the system can."""
    try:
        place.symlink_to(source.resolve())
    except OSError:
        try:
            shutil.copyfile(source, place)
        except OSError as error:
            raise OutputError(f"{place.name}: cannot be written ({error.strerror})") from error


def _same(one: Path, other: Path) -> bool:
    if not one.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()
