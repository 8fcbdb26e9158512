"""Delivery of results: the DICOM-SEG made from a study is stored in that study."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from nnstudent.errors import NnStudentError, require
from nnstudent.io.dicom.read import quiet
from nnstudent.web.job import Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.errors import PacsError, UnreachableError

log = logging.getLogger(__name__)

SEG = "labels.seg.dcm"
WAITS = (10.0, 60.0, 300.0)  # seconds before each further attempt, which itself tries repeatedly


class Delivery:
    """A thread that stores the DICOM-SEG of each job that was made from a study.

    What it could not store is tried again after a restart. The job's ``origin`` has the state under
    ``delivery``: ``state`` (waiting, stored, failed, nothing) and ``error``.
    """

    def __init__(
        self,
        jobs: Jobs,
        send: Callable[[str, Path], None],
        *,
        where: str,
        waits: Sequence[float] = WAITS,
    ) -> None:
        """Deliver the results of these jobs; :meth:`start` starts the thread.

        Args:
            jobs: The queue.
            send: Stores a file in a study; raises :class:`PacsError` if it cannot.
            where: Name of the place that it stores to, for the log.
            waits: Seconds before each further attempt if that place cannot be reached.
        """
        self._jobs = jobs
        self._send = send
        self._where = where
        self._waits = tuple(waits)
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Start, beginning with the results that were not stored when the service stopped."""
        self._jobs.listeners.append(self._finished)
        for job in self._jobs.all():
            if job.state == "done" and job.origin.get("delivery", {}).get("state") not in (
                "stored",
                "nothing",
            ):
                self._finished(job)
        self._thread.start()

    def stop(self) -> None:
        """Stop; results that are waiting are delivered after a restart."""
        self._jobs.listeners.remove(self._finished)
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _finished(self, job: Job) -> None:
        if job.state != "done" or "study" not in job.origin:
            return
        if SEG in job.files:
            self._set_state(job, "waiting")
            self._waiting.put(job)
        else:
            self._set_state(job, "nothing", "there is no DICOM-SEG to store; the warnings say why")

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None and not self._stopping.is_set():
            try:
                self._deliver(job)
            except NnStudentError as error:
                self._set_state(job, "failed", str(error))
            except Exception as error:  # the service continues; the text could name a file
                self._set_state(
                    job, "failed", f"the DICOM-SEG cannot be sent ({type(error).__name__})"
                )

    def _deliver(self, job: Job) -> None:
        study, path = str(job.origin["study"]), job.output / SEG
        for wait in (*self._waits, None):
            if self._jobs.get(job.id, owner=job.owner) is not job:
                return
            _check(study, path)
            try:
                self._send(study, path)
            except UnreachableError as error:
                if wait is None:
                    raise
                log.warning("job %s: %s; tried again in %g s", job.id[:8], error, wait)
                if self._stopping.wait(wait):
                    return
            else:
                self._set_state(job, "stored")
                return

    def _set_state(self, job: Job, state: str, error: str | None = None) -> None:
        if error:
            log.error("job %s: not stored in %s: %s", job.id[:8], self._where, error)
        elif state == "stored":
            log.info("job %s: stored in %s", job.id[:8], self._where)
        self._jobs.update_origin(job, delivery={"state": state, "error": error})


def _check(study: str, path: Path) -> None:
    """Check that the object belongs to the study; nothing may be stored with another patient."""
    pydicom = require("pydicom", extra="dicom", why="reading DICOM")
    with quiet():
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
    if str(header.get("StudyInstanceUID")) != study:
        raise PacsError(
            "the images belong to another study than the one requested; nothing is stored"
        )
