"""The jobs: a folder each, with a record that survives a restart; which is next, who may see it, how long it is kept."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.io.atomic import make_folder, read_json, write_json
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]
Kind = Literal["image", "dicom"]
FINISHED = ("done", "failed")
_RECORD = "job.json"
_ID = re.compile(r"[0-9a-f]{32}")
_ATTEMPTS = 2  # a job under which the whole service died twice is what kills it


class FullError(NnStudentError):
    """There is no room for another job now."""


@dataclass(eq=False)
class Job:
    """One scan to segment. Everything but ``progress`` and ``began`` is in its record on disk.

    Attributes:
        id: 32 hexadecimal digits, which also name its folder.
        folder: Its files: ``input``, ``output`` and the record.
        owner: Who may see it.
        name: What the owner calls it; only for display.
        kind: What ``input`` holds: one image file, or DICOM files.
        created: Seconds since the epoch.
        state: Where it stands.
        attempts: How often a worker began it.
        seconds: How long the worker took.
        error: Why it failed, one line.
        warnings: What a reader should know, a line each.
        organs: What was found.
        files: Names of the files in ``output``.
        bytes: On disk.
        finished: Seconds since the epoch.
        origin: What whoever made it wants to know when it is done; any JSON.
        arrived: Whether its input is there; else it is still to be fetched, and no worker's turn.
        progress: What the worker does, steps done, steps in all.
        began: Monotonic seconds when the worker began.
    """

    id: str
    folder: Path
    owner: str
    name: str
    kind: Kind
    created: float
    state: State = "queued"
    attempts: int = 0
    seconds: float | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    organs: list[dict[str, Any]] | None = None
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    finished: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    arrived: bool = True
    progress: tuple[str, int, int] | None = None
    began: float | None = None

    @property
    def input(self) -> Path:
        """What was given; gone when the job is finished."""
        return self.folder / "input"

    @property
    def source(self) -> Path:
        """The image file in ``input``; of DICOM the folder itself."""
        return self.input if self.kind == "dicom" else next(self.input.iterdir())

    @property
    def output(self) -> Path:
        """What was made of it."""
        return self.folder / "output"

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "progress", "began")}


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
        """Take over the jobs in a folder: those that ran are queued again, uploads that did not end are removed.

        Raises:
            OutputError: The folder cannot be made or written.
        """
        self._folder = folder
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._drafts: dict[str, Draft] = {}
        self._changed = threading.Condition(threading.RLock())
        self.listeners: list[Callable[[Job], None]] = []  # told of each job that is done or failed
        self.stop: Callable[[Job], None] = lambda job: None  # what ends the work on a job, if there is any
        make_folder(folder)
        for path in sorted(folder.iterdir()):
            if _ID.fullmatch(path.name):
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
            if len(self._drafts) >= self._limits.uploads:
                raise FullError(f"{self._limits.uploads} uploads are under way; try again when one of them is through")
            if sum(job.state not in FINISHED for job in self._jobs.values()) >= self._limits.jobs:
                raise FullError(f"{self._limits.jobs} jobs are waiting; try again when some of them are done")
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
        """Keep this many bytes free for a draft, or a job that is to be fetched, by removing the oldest finished jobs if need be.

        Raises:
            FullError: Too much of the disk is taken by jobs that are not finished.
        """
        with self._changed:
            _set_reserved(draft, 0)
            while self.bytes + bytes > self._limits.disk_bytes:
                finished = [job for job in self._jobs.values() if job.state in FINISHED]
                if not finished:
                    raise FullError("the service's share of the disk is full of scans that wait; try again when some of them are done")
                self.remove(min(finished, key=lambda job: job.finished or 0))
            _set_reserved(draft, bytes)

    @property
    def bytes(self) -> int:
        """On disk, with what is reserved."""
        with self._changed:
            return sum(job.bytes for job in self._jobs.values()) + sum(draft.reserved for draft in self._drafts.values())

    def add(self, draft: Draft, *, owner: str, name: str, kind: Kind, origin: Mapping[str, Any] | None = None, arrived: bool = True) -> Job:
        """Queue a job whose files are in ``draft.input``: one image file, or DICOM files; or will be, when :meth:`arrive` is called."""
        job = Job(draft.id, draft.folder, owner, name, kind, time.time(), origin=dict(origin or {}), arrived=arrived)
        job.bytes = _size(draft.folder)
        make_folder(job.output)
        with self._changed:
            self._save(job)
            self._jobs[job.id] = job
            draft.reserved = 0
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
            return sorted((job for job in self._jobs.values() if job.owner == owner), key=lambda job: job.created, reverse=True)

    def place(self, job: Job) -> int | None:
        """Where it stands in the queue, 1 for the next; None if it does not wait."""
        with self._changed:
            return None if job.state != "queued" or not job.arrived else 1 + sum(other.created < job.created for other in self._queued())

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
        self, job: Job, *, error: str | None = None, files: list[str] | None = None, organs: Any = None, warnings: list[str] | None = None
    ) -> None:
        """Record how a job ended; its input is removed. Nothing happens if the job was removed meanwhile."""
        shutil.rmtree(job.input, ignore_errors=True)
        size = _size(job.folder)
        with self._changed:
            if job.id not in self._jobs:
                return
            job.state = "done" if error is None else "failed"
            job.error, job.files, job.organs, job.warnings = error, files or [], organs, [*job.warnings, *(warnings or [])]
            job.seconds = None if job.began is None else round(time.monotonic() - job.began, 2)
            job.finished, job.progress, job.bytes = time.time(), None, size
            self._note(job)
        log.info("job %s: %s after %.1f s", job.id[:8], job.state, job.seconds or 0)
        for listener in self.listeners:
            listener(job)

    def remove(self, job: Job) -> None:
        """Forget a job, stop it if it runs, and delete its files."""
        with self._changed:
            self._jobs.pop(job.id, None)  # first, so that how it was stopped is not recorded any more
        self.stop(job)
        shutil.rmtree(job.folder, ignore_errors=True)
        log.info("job %s: removed", job.id[:8])

    def sweep(self) -> None:
        """Remove finished jobs that were kept long enough, and as many more as the disk's share asks for."""
        now = time.time()
        with self._changed:
            finished = sorted((job for job in self._jobs.values() if job.state in FINISHED), key=lambda job: job.finished or 0)
            for job in finished:
                old = now - (job.finished or 0) > self._limits.keep_hours * 3600
                if old or self.bytes > self._limits.disk_bytes:
                    self.remove(job)

    def _queued(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.state == "queued" and job.arrived)

    def _save(self, job: Job) -> None:
        write_json(job.folder / _RECORD, job.record())

    def _note(self, job: Job) -> None:
        """As :meth:`_save`, where a full disk must not stop the service: after a restart the job is done again."""
        try:
            self._save(job)
        except OutputError as error:
            log.error("job %s: its record cannot be written: %s", job.id[:8], error)

    def _take_over(self, folder: Path) -> None:
        try:
            job = Job(folder=folder, **read_json(folder / _RECORD, what="a job"))
        except (InputError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)  # an upload that did not end
            return
        self._jobs[job.id] = job
        if job.state == "running":
            job.state = "queued"
            self._save(job)
            if job.attempts >= _ATTEMPTS:
                self.finish(job, error=f"the service stopped {job.attempts} times while this was segmented; it is not tried again")


def _set_reserved(draft: Draft | Job, bytes: int) -> None:
    if isinstance(draft, Job):
        draft.bytes = bytes
    else:
        draft.reserved = bytes


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
