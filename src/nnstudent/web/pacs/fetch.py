"""Fetches the scans of jobs from a PACS, one after another, while other jobs are segmented."""

from __future__ import annotations

import logging
import queue
import threading

from nnstudent.errors import NnStudentError
from nnstudent.web.job import FINISHED, Job
from nnstudent.web.jobs import FullError, Jobs
from nnstudent.web.pacs.client import PacsClient
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

_FULL_WAIT = 5.0  # seconds between two checks for free disk space


class _GoneError(Exception):
    """The job was removed, or the service is stopping."""


class Fetcher:
    """A thread that fetches scans; what is still missing is fetched after a restart."""

    def __init__(self, jobs: Jobs, client: PacsClient, limits: Limits) -> None:
        """Fetch from this PACS; :meth:`start` starts the thread."""
        self._jobs = jobs
        self._client = client
        self._limits = limits
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._stopping = threading.Event()
        self._requesting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def request(self, study: str, *, owner: str) -> Job:
        """Queue a study; if this owner's job for it is still waiting or running, return that job.

        Args:
            study: Study instance UID.
            owner: Who may see it.

        Raises:
            FullError: Too many jobs are waiting.
        """
        with self._requesting:
            for job in self._jobs.owned_by(owner):
                if job.state not in FINISHED and job.origin.get("study") == study:
                    return job
            with self._jobs.draft(reserve=0) as draft:
                name = f"PACS study {draft.id[:8]}"
                job = self._jobs.add(
                    draft,
                    owner=owner,
                    name=name,
                    kind="dicom",
                    origin={"study": study},
                    arrived=False,
                )
        self._waiting.put(job)
        return job

    def start(self) -> None:
        """Start fetching, beginning with what was missing when the service stopped."""
        for job in self._jobs.all():
            if job.state not in FINISHED and not job.arrived:
                self._waiting.put(job)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a scan that is half fetched is fetched again after a restart."""
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None and not self._stopping.is_set():
            try:
                self._fetch(job)
            except _GoneError:
                log.info("job %s: no longer fetched", job.id[:8])
            except NnStudentError as error:
                self._fail(job, str(error))
            except OSError as error:
                why = error.strerror or type(error).__name__
                self._fail(
                    job, f"the service cannot write the scan to its disk ({why}); try again later"
                )
            except Exception as error:  # the service continues; the text could quote the scan
                self._fail(job, f"the scan that the PACS sent is unusable ({type(error).__name__})")

    def _fetch(self, job: Job) -> None:
        def progress(done: int, total: int) -> None:
            if self._is_gone(job):
                raise _GoneError
            job.progress = ("fetching", done, total)

        progress(0, 0)
        while True:
            try:
                self._jobs.reserve(job, self._limits.upload_bytes)
                break
            except FullError:  # until the worker has finished a job
                self._stopping.wait(_FULL_WAIT)
                progress(0, 0)
        notes = self._client.fetch(
            str(job.origin["study"]), job.input, limits=self._limits, progress=progress
        )
        self._jobs.set_arrived(job, notes)
        log.info("job %s: fetched from the PACS, %.1f MB", job.id[:8], job.bytes / 1e6)

    def _fail(self, job: Job, error: str) -> None:
        if not self._is_gone(job):
            log.error("job %s: %s", job.id[:8], error)
            self._jobs.finish(job, error=error)

    def _is_gone(self, job: Job) -> bool:
        return self._stopping.is_set() or self._jobs.get(job.id, owner=job.owner) is not job
