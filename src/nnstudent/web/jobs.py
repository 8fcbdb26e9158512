"""The queue of jobs.

Each job has a folder with a record that survives a restart. The queue decides which job is next,
who may see it, and how long it is kept.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import NnStudentError
from nnstudent.io.atomic import make_folder
from nnstudent.web.job import FINISHED, NAMES, Job, Kind
from nnstudent.web.job_records import JobRecords
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

SHARED = "datastore"  # the owner of the datastore's jobs, which everybody may see
_ATTEMPTS = 2  # a job during which the service died this often is taken to be the cause


class FullError(NnStudentError):
    """There is no room for another job at the moment."""


@dataclass(eq=False)
class Draft:
    """A job whose files are still arriving.

    Attributes:
        id: Id of the future job.
        folder: Its folder, removed if no job is made of it.
        reserved: Bytes of disk space that are reserved for it.
    """

    id: str
    folder: Path
    reserved: int

    @property
    def input(self) -> Path:
        """Folder for its files."""
        return self.folder / "input"


class Jobs:
    """All jobs of a service. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Load the jobs in a folder.

        Jobs that were running are queued again, and incomplete uploads are removed. A job with a
        damaged record is named in the log and kept until it is older than ``keep_hours``.

        Raises:
            OutputError: The folder cannot be created or written to.
        """
        self._folder = folder
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._drafts: dict[str, Draft] = {}
        self._changed = threading.Condition(threading.RLock())
        self.listeners: list[Callable[[Job], None]] = []  # called with each finished job
        self.stop: Callable[[Job], None] = lambda job: None  # stops the work on a job
        self._records = JobRecords(folder, keep_hours=limits.keep_hours)
        for job in self._records.load():
            self._jobs[job.id] = job
            if job.state == "running":
                self._queue_again(job)

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def draft(self, *, reserve: int | None = None) -> Iterator[Draft]:
        """Create a folder for the files of a future job.

        It is removed at the end of the block unless :meth:`add` made a job of it.

        Args:
            reserve: Bytes that will be needed; None for the largest upload.

        Raises:
            FullError: There is no room for it.
            OutputError: The folder cannot be created.
        """
        id = secrets.token_hex(16)
        with self._changed:
            if sum(job.state not in FINISHED for job in self._jobs.values()) >= self._limits.jobs:
                raise FullError(
                    f"{self._limits.jobs} jobs are waiting; try again when some have finished"
                )
            if reserve is not None and reserve > shutil.disk_usage(self._folder).free:
                raise FullError("there is not enough disk space for this upload; try again later")
            draft = Draft(id, self._folder / id, 0)
            self._drafts[id] = draft
        try:
            self.reserve(draft, self._limits.upload_bytes if reserve is None else reserve)
            make_folder(draft.input)
            yield draft
        finally:
            with self._changed:
                del self._drafts[id]
                left = id not in self._jobs
            if left:
                shutil.rmtree(draft.folder, ignore_errors=True)

    def reserve(self, draft: Draft | Job, bytes: int) -> None:
        """Reserve disk space for a draft, or for a job that is to be fetched.

        Nothing is deleted yet, because an upload may still be refused. Finished jobs make room in
        :meth:`add` and :meth:`set_arrived`.

        Raises:
            FullError: Unfinished jobs take up too much disk space.
        """
        with self._changed:
            unfinished = (job for job in self._jobs.values() if job.state not in FINISHED)
            waiting = sum(job.bytes for job in unfinished if job is not draft)
            coming = sum(other.reserved for other in self._drafts.values() if other is not draft)
            if waiting + coming + bytes > self._limits.disk_bytes:
                raise FullError(
                    "waiting scans take up all the disk space of the service; "
                    "try again when some have finished"
                )
            if isinstance(draft, Job):
                draft.bytes = bytes
            else:
                draft.reserved = bytes

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs, and no upload arrives."""
        with self._changed:
            return not self._drafts and all(job.state in FINISHED for job in self._jobs.values())

    @property
    def bytes(self) -> int:
        """Bytes on disk, including what is reserved."""
        with self._changed:
            return sum(job.bytes for job in self._jobs.values()) + sum(
                draft.reserved for draft in self._drafts.values()
            )

    def add(
        self,
        draft: Draft,
        *,
        owner: str,
        name: str,
        kind: Kind,
        origin: Mapping[str, Any] | None = None,
        arrived: bool = True,
    ) -> Job:
        """Queue a job.

        Args:
            draft: Its files are in ``draft.input``: one image file, or DICOM files.
            owner: Who may see it.
            name: Name to display.
            kind: What its files are.
            origin: JSON data for whoever creates the job.
            arrived: False if its files are still to be fetched; then :meth:`set_arrived` follows.
        """
        job = Job(draft.id, draft.folder, owner, name, kind, time.time(), arrived=arrived)
        job.origin, job.bytes = dict(origin or {}), _size(draft.folder)
        make_folder(job.output)
        with self._changed:
            job.name = _free_name(name, {other.name for other in self.owned_by(owner)})
            self._records.save(job)
            self._jobs[job.id] = job
            draft.reserved = 0
            self._make_room()
            self._changed.notify_all()
        log.info("job %s: queued, %s, %.1f MB", job.id[:8], kind, job.bytes / 1e6)
        return job

    def set_arrived(self, job: Job, warnings: list[str]) -> None:
        """Release a job to the worker, because its files have arrived."""
        size = _size(job.folder)
        with self._changed:
            if job.id in self._jobs:
                job.arrived, job.bytes, job.warnings, job.progress = True, size, warnings, None
                self._records.save_or_log(job)
                self._make_room()
                self._changed.notify_all()

    def update_origin(self, job: Job, **origin: Any) -> None:
        """Update the ``origin`` of a job."""
        with self._changed:
            if job.id in self._jobs:
                job.origin.update(origin)
                self._records.save_or_log(job)

    def all(self) -> list[Job]:
        """Return every job, oldest first; for the service itself, not for its users."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: job.created)

    def get(self, id: str, *, owner: str) -> Job | None:
        """Return a job that this owner may see; None if there is no such job."""
        job = self._jobs.get(id)
        return job if job is not None and job.owner in (owner, SHARED) else None

    def owned_by(self, *owners: str) -> list[Job]:
        """Return the jobs of these owners, newest first."""
        return [job for job in reversed(self.all()) if job.owner in owners]

    def place(self, job: Job) -> int | None:
        """Return a job's place in the queue, 1 for the next; None if it is not waiting."""
        with self._changed:
            if job.state != "queued" or not job.arrived:
                return None
            return 1 + sum(other.created < job.created for other in self._queued())

    def take_next(self, *, timeout: float) -> Job | None:
        """Mark the next job as running and return it; None if none comes within ``timeout`` s."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._queued()), timeout)
            job = min(self._queued(), key=lambda job: job.created, default=None)
            if job is None:
                return None
            job.state, job.attempts, job.began = "running", job.attempts + 1, time.monotonic()
            self._records.save_or_log(job)
            return job

    def finish(
        self,
        job: Job,
        *,
        error: str | None = None,
        files: list[str] | None = None,
        organs: Any = None,
        warnings: list[str] | None = None,
        scan: dict[str, Any] | None = None,
    ) -> None:
        """Record how a job ended and remove its input; does nothing if the job has been removed."""
        shutil.rmtree(job.input, ignore_errors=True)
        with suppress(OSError):
            (job.folder / NAMES).unlink(missing_ok=True)
        size = _size(job.folder)
        with self._changed:
            if job.id not in self._jobs:
                return
            job.end(error=error, files=files, organs=organs, warnings=warnings, scan=scan)
            job.bytes = size
            self._records.save_or_log(job)
        log.info("job %s: %s after %.1f s", job.id[:8], job.state, job.seconds or 0)
        for listener in self.listeners:
            listener(job)

    def remove(self, job: Job) -> None:
        """Remove a job: stop it if it is running, and delete its files."""
        with self._changed:
            self._jobs.pop(job.id, None)  # first, so that stopping it is not recorded
        self.stop(job)
        shutil.rmtree(job.folder, ignore_errors=True)
        log.info("job %s: removed", job.id[:8])

    def sweep(self) -> None:
        """Remove finished jobs that are old enough, and more if the disk space requires it."""
        before = time.time() - self._limits.keep_hours * 3600
        with self._changed:
            for job in self._finished():
                if (job.finished or 0) < before:
                    self.remove(job)
            self._make_room()
            self._records.remove_damaged(before)

    def _make_room(self) -> None:
        """Remove the oldest finished jobs until the others fit. The caller holds the lock."""
        excess = sum(job.bytes for job in self._jobs.values()) - self._limits.disk_bytes
        for job in self._finished():
            if excess <= 0:
                return
            excess -= job.bytes
            self.remove(job)

    def _finished(self) -> list[Job]:
        """Return the jobs that have ended, the first to end first."""
        ended = (job for job in self._jobs.values() if job.state in FINISHED)
        return sorted(ended, key=lambda job: job.finished or 0)

    def _queued(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.state == "queued" and job.arrived)

    def _queue_again(self, job: Job) -> None:
        """Queue a job during which the service stopped, unless it is taken to be the cause."""
        job.state = "queued"
        self._records.save_or_log(job)
        if job.attempts >= _ATTEMPTS:
            self.finish(
                job,
                error=f"the service stopped {job.attempts} times while segmenting this scan; "
                "it is not tried again",
            )


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return the name with a number behind it if it is taken: ``ct (2)``."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _size(folder: Path) -> int:
    """Return the bytes in a folder; a file that disappears meanwhile counts as 0."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
