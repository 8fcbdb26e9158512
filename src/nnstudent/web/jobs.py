"""The jobs: a folder each, with a record that survives a restart; which is next, who may see it, how long it is kept."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.io.atomic import make_folder, write_json
from nnstudent.web.job import FINISHED, NAMES, RECORD, Job, Kind, is_job_id, read_job
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

_ATTEMPTS = 2  # a job under which the whole service died twice is what kills it


class FullError(NnStudentError):
    """There is no room for another job now."""


@dataclass(eq=False)
class Draft:
    """A job whose files are still coming.

    Attributes:
        id: Of the job to be.
        folder: Of the job to be; removed if it does not become one.
        reserved: Bytes on disk that are kept free for it.
    """

    id: str
    folder: Path
    reserved: int

    @property
    def input(self) -> Path:
        """Where its files go."""
        return self.folder / "input"


class Jobs:
    """All jobs of a service. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Take over the jobs in a folder.

        Jobs that ran are queued again, and uploads that did not end are removed. A job whose record is
        damaged is named in the log and left alone until it is older than ``keep_hours``.

        Raises:
            OutputError: The folder cannot be made or written.
        """
        self._folder = folder
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._drafts: dict[str, Draft] = {}
        self._changed = threading.Condition(threading.RLock())
        self.listeners: list[Callable[[Job], None]] = []  # told of each job that is done or failed
        self.stop: Callable[[Job], None] = lambda job: (
            None
        )  # what ends the work on a job, if there is any
        make_folder(folder)
        self._unread: set[Path] = set()  # folders of jobs whose record is damaged
        for path in sorted(folder.iterdir()):
            if is_job_id(path.name) and path.is_dir():
                self._take_over(path)

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def draft(self, *, reserve: int | None = None) -> Iterator[Draft]:
        """A folder for the files of a job to be, removed at the end of the block unless :meth:`add` made a job of it.

        Args:
            reserve: Bytes that will be needed; None for the largest upload.

        Raises:
            FullError: There is no room for it.
            OutputError: The folder cannot be made.
        """
        id = secrets.token_hex(16)
        with self._changed:
            if sum(job.state not in FINISHED for job in self._jobs.values()) >= self._limits.jobs:
                raise FullError(
                    f"{self._limits.jobs} jobs are waiting; try again when some of them are done"
                )
            if reserve is not None and reserve > shutil.disk_usage(self._folder).free:
                raise FullError("the disk has no room for this upload; try again later")
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
        """Admit this many bytes for a draft, or for a job that is to be fetched.

        Nothing is deleted yet: an upload may still be refused. Finished jobs make room in :meth:`add` and :meth:`arrive`.

        Raises:
            FullError: Too much of the disk is taken by jobs that are not finished.
        """
        with self._changed:
            waiting = sum(
                job.bytes
                for job in self._jobs.values()
                if job.state not in FINISHED and job is not draft
            )
            coming = sum(other.reserved for other in self._drafts.values() if other is not draft)
            if waiting + coming + bytes > self._limits.disk_bytes:
                raise FullError(
                    "the service's share of the disk is full of scans that wait; try again when some of them are done"
                )
            if isinstance(draft, Job):
                draft.bytes = bytes
            else:
                draft.reserved = bytes

    @property
    def bytes(self) -> int:
        """On disk, with what is reserved."""
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
        """Queue a job whose files are in ``draft.input``: one image file, or DICOM files; or will be, when :meth:`arrive` is called."""
        job = Job(
            draft.id,
            draft.folder,
            owner,
            name,
            kind,
            time.time(),
            origin=dict(origin or {}),
            arrived=arrived,
        )
        job.bytes = _size(draft.folder)
        make_folder(job.output)
        with self._changed:
            self._save(job)
            self._jobs[job.id] = job
            draft.reserved = 0
            self._make_room()
            self._changed.notify_all()
        log.info("job %s: queued, %s, %.1f MB", job.id[:8], kind, job.bytes / 1e6)
        return job

    def arrive(self, job: Job, warnings: list[str]) -> None:
        """Let a worker have a job whose files are there now."""
        size = _size(job.folder)
        with self._changed:
            if job.id in self._jobs:
                job.arrived, job.bytes, job.warnings, job.progress = True, size, warnings, None
                self._note(job)
                self._make_room()
                self._changed.notify_all()

    def change(self, job: Job, **origin: Any) -> None:
        """Keep something about a job for whoever made it."""
        with self._changed:
            if job.id in self._jobs:
                job.origin.update(origin)
                self._note(job)

    def all(self) -> list[Job]:
        """Every job, oldest first; for the service itself, not for those who ask it."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: job.created)

    def get(self, id: str, *, owner: str) -> Job | None:
        """The job of this owner, or None."""
        job = self._jobs.get(id)
        return job if job is not None and job.owner == owner else None

    def of(self, owner: str) -> list[Job]:
        """The jobs of an owner, newest first."""
        with self._changed:
            return sorted(
                (job for job in self._jobs.values() if job.owner == owner),
                key=lambda job: job.created,
                reverse=True,
            )

    def place(self, job: Job) -> int | None:
        """Where it stands in the queue, 1 for the next; None if it does not wait."""
        with self._changed:
            return (
                None
                if job.state != "queued" or not job.arrived
                else 1 + sum(other.created < job.created for other in self._queued())
            )

    def take(self, *, timeout: float) -> Job | None:
        """The next job, now running; None if there is none in this many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._queued()), timeout)
            job = min(self._queued(), key=lambda job: job.created, default=None)
            if job is None:
                return None
            job.state, job.attempts, job.began = "running", job.attempts + 1, time.monotonic()
            self._note(job)
            return job

    def finish(
        self,
        job: Job,
        *,
        error: str | None = None,
        files: list[str] | None = None,
        organs: Any = None,
        warnings: list[str] | None = None,
    ) -> None:
        """Record how a job ended; its input is removed. Nothing happens if the job was removed meanwhile."""
        shutil.rmtree(job.input, ignore_errors=True)
        with suppress(OSError):
            (job.folder / NAMES).unlink(missing_ok=True)
        size = _size(job.folder)
        with self._changed:
            if job.id not in self._jobs:
                return
            job.state = "done" if error is None else "failed"
            job.error, job.files, job.organs, job.warnings = (
                error,
                files or [],
                organs,
                [*job.warnings, *(warnings or [])],
            )
            job.seconds = None if job.began is None else round(time.monotonic() - job.began, 2)
            job.finished, job.progress, job.bytes = time.time(), None, size
            self._note(job)
        log.info("job %s: %s after %.1f s", job.id[:8], job.state, job.seconds or 0)
        for listener in self.listeners:
            listener(job)

    def remove(self, job: Job) -> None:
        """Forget a job, stop it if it runs, and delete its files."""
        with self._changed:
            self._jobs.pop(
                job.id, None
            )  # first, so that how it was stopped is not recorded any more
        self.stop(job)
        shutil.rmtree(job.folder, ignore_errors=True)
        log.info("job %s: removed", job.id[:8])

    def sweep(self) -> None:
        """Remove finished jobs that were kept long enough, and as many more as the disk's share asks for."""
        before = time.time() - self._limits.keep_hours * 3600
        with self._changed:
            for job in [
                job
                for job in self._jobs.values()
                if job.state in FINISHED and (job.finished or 0) < before
            ]:
                self.remove(job)
            self._make_room()
            for folder in [folder for folder in self._unread if _modified(folder) < before]:
                self._unread.discard(folder)
                shutil.rmtree(folder, ignore_errors=True)
                log.info(
                    "job %s: its damaged record was kept long enough; removed", folder.name[:8]
                )

    def _make_room(self) -> None:
        """Remove the oldest finished jobs while all jobs together take more than their share. Called under the lock."""
        finished = sorted(
            (job for job in self._jobs.values() if job.state in FINISHED),
            key=lambda job: job.finished or 0,
        )
        excess = sum(job.bytes for job in self._jobs.values()) - self._limits.disk_bytes
        for job in finished:
            if excess <= 0:
                return
            excess -= job.bytes
            self.remove(job)

    def _queued(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.state == "queued" and job.arrived)

    def _save(self, job: Job) -> None:
        write_json(job.folder / RECORD, job.record())

    def _note(self, job: Job) -> None:
        """As :meth:`_save`, where a full disk must not stop the service: after a restart the job is done again."""
        try:
            self._save(job)
        except OutputError as error:
            log.error("job %s: its record cannot be written: %s", job.id[:8], error)

    def _take_over(self, folder: Path) -> None:
        if not (folder / RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)  # an upload that did not end
            return
        try:
            job = read_job(folder)
        except InputError as error:
            self._unread.add(folder)
            log.warning(
                "a job is passed over: %s; its folder is deleted after %g hours",
                error,
                self._limits.keep_hours,
            )
            return
        self._jobs[job.id] = job
        if job.state == "running":
            job.state = "queued"
            self._note(job)
            if job.attempts >= _ATTEMPTS:
                self.finish(
                    job,
                    error=f"the service stopped {job.attempts} times while this was segmented; it is not tried again",
                )


def _size(folder: Path) -> int:
    """Bytes in a folder; what disappears while it is counted counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
