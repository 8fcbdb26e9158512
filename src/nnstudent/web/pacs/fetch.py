"""Jobs whose scan is in a PACS: asked for at once, fetched one after another while others are segmented."""

from __future__ import annotations

import logging
import queue
import threading

from nnstudent.errors import NnStudentError
from nnstudent.web.job import FINISHED, Job
from nnstudent.web.jobs import FullError, Jobs
from nnstudent.web.pacs.client import Pacs
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

_FULL_WAIT = 5.0  # seconds until it is seen again whether there is room on the disk


class _GoneError(Exception):
    """The job was removed, or the service stops."""


class Fetcher:
    """A thread that fetches; what was asked for and did not arrive is fetched after a restart."""

    def __init__(self, jobs: Jobs, pacs: Pacs, limits: Limits) -> None:
        """Fetch from this PACS; :meth:`start` starts it."""
        self._jobs = jobs
        self._pacs = pacs
        self._limits = limits
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._stopping = threading.Event()
        self._asking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def ask(self, study: str, *, owner: str) -> Job:
        """Queue a study; if its owner has it waiting or running already, that job.

        Args:
            study: Study instance UID.
            owner: Who may see it.

        Raises:
            FullError: Too many jobs wait.
        """
        with self._asking:
            for job in self._jobs.of(owner):
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
        """Start fetching, with what is left of the last time."""
        for job in self._jobs.all():
            if job.state not in FINISHED and not job.arrived:
                self._waiting.put(job)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is half fetched is fetched anew when the service starts again."""
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
                self._fail(
                    job,
                    f"the service cannot write what it fetches ({error.strerror or type(error).__name__}); try again later",
                )
            except Exception as error:  # the service goes on; the text could quote what came
                self._fail(job, f"what the PACS sent cannot be taken ({type(error).__name__})")

    def _fetch(self, job: Job) -> None:
        def going(done: int, total: int) -> None:
            if self._is_gone(job):
                raise _GoneError
            job.progress = ("fetching", done, total)

        going(0, 0)
        while True:
            try:
                self._jobs.reserve(job, self._limits.upload_bytes)
                break
            except FullError:  # until the worker is through with something
                self._stopping.wait(_FULL_WAIT)
                going(0, 0)
        told = self._pacs.fetch(
            str(job.origin["study"]), job.input, limits=self._limits, going=going
        )
        self._jobs.arrive(job, told)
        log.info("job %s: fetched from the PACS, %.1f MB", job.id[:8], job.bytes / 1e6)

    def _fail(self, job: Job, error: str) -> None:
        if not self._is_gone(job):
            log.error("job %s: %s", job.id[:8], error)
            self._jobs.finish(job, error=error)

    def _is_gone(self, job: Job) -> bool:
        return self._stopping.is_set() or self._jobs.get(job.id, owner=job.owner) is not job
