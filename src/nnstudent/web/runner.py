"""Hands jobs to the worker process, one after another, and restarts it if it dies."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnstudent.data_files import read_json
from nnstudent.errors import InputError, NnStudentError
from nnstudent.web.job import NAMES, Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.settings import SECRETS, Settings

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"\b\d{5}\.dcm\b")  # names of uploaded files on disk
_SWEEP_SECONDS = 60.0  # between two removals of old jobs


class Runner:
    """A thread that hands jobs to the worker process and records how they end."""

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        """Run these jobs; :meth:`start` starts the thread."""
        self._jobs = jobs
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self._stopping = threading.Event()
        # Protects the next two; never held while waiting for the queue's own lock.
        self._guard = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._current: Job | None = None
        self._model = settings.model
        self._renew = False  # whether the worker runs a model that was replaced
        jobs.stop = self.abandon

    @property
    def pid(self) -> int | None:
        """Process id of the worker, if it is running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the worker and the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop at once; a running job is repeated when the service starts again."""
        self._stopping.set()
        with self._guard:
            self._kill_worker()
        self._thread.join(timeout=10)

    def abandon(self, job: Job) -> None:
        """Stop the work on a job, if it is running."""
        with self._guard:
            if self._current is job:
                self._kill_worker()

    def use(self, model: Path | None) -> None:
        """Segment with another model from the next job on.

        Args:
            model: Bundle or nnU-Net folder; None for the bundled student.
        """
        with self._guard:
            self._model, self._renew = model, True

    def _run(self) -> None:
        swept = time.monotonic()
        with suppress(OSError, NnStudentError), self._guard:
            self._running_worker()  # loads the model before the first scan; if it fails, retried
        while not self._stopping.is_set():
            try:
                job = self._jobs.take_next(timeout=1.0)
                if job is not None:
                    self._segment(job)
                if job is not None or time.monotonic() - swept > _SWEEP_SECONDS:
                    swept = time.monotonic()
                    self._jobs.sweep()
            except Exception as error:  # the service continues; the text could name a file
                log.error(
                    "the runner raised an unexpected %s",
                    type(error).__name__,
                    exc_info=self._settings.debug,
                )
                self._stopping.wait(1.0)

    def _segment(self, job: Job) -> None:
        try:
            source = job.source
        except (OSError, StopIteration):
            self._jobs.finish(job, error="the service no longer has this scan; send it again")
            return
        try:
            self._run_job(job, source)
        except Exception as error:
            log.error(
                "job %s: raised an unexpected %s",
                job.id[:8],
                type(error).__name__,
                exc_info=self._settings.debug,
            )
            if not self._stopping.is_set():  # otherwise the job is repeated after the restart
                self._jobs.finish(
                    job,
                    error=f"unexpected error in the service ({type(error).__name__}); "
                    "send the scan again",
                )

    def _run_job(self, job: Job, source: Path) -> None:
        with self._guard:
            self._current = job
            process = self._running_worker()
        limit = threading.Timer(self._settings.limits.job_minutes * 60, self.abandon, (job,))
        limit.daemon = True
        limit.start()
        try:
            answer = self._exchange(process, job, source)
        finally:
            limit.cancel()
            with self._guard:
                self._current = None
        if answer is None and self._stopping.is_set():
            return  # its record says that it is running, so it is repeated after the restart
        if answer is None:
            answer = {"error": self._describe_death(process, job)}  # ignored if the job was removed
        if "error" in answer:
            self._jobs.finish(job, error=clean_message(answer["error"], job))
        else:
            warnings = [clean_message(warning, job) for warning in answer["warnings"]]
            self._jobs.finish(
                job,
                files=answer["files"],
                organs=answer["organs"],
                warnings=warnings,
                scan=answer["scan"],
            )

    def _exchange(
        self, process: subprocess.Popen[str], job: Job, source: Path
    ) -> dict[str, Any] | None:
        """Send a job to the worker and return its answer; None if it died."""
        order = {"source": str(source), "output": str(job.output), "name": job.name}
        if self._settings.datastore is not None:  # the scan can be corrected
            order["scores"] = str(job.scores)
        try:
            if process.stdin is None or process.stdout is None:
                return None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message: dict[str, Any] = json.loads(line)
                if "progress" not in message:
                    return message
                what, done, total = message["progress"]
                job.progress = (what, done, total)
        except (OSError, ValueError) as error:  # it died while it wrote or read
            log.debug("the worker does not respond: %s", type(error).__name__)
        return None

    def _describe_death(self, process: subprocess.Popen[str], job: Job) -> str:
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it is alive but does not respond
            with self._guard:
                self._kill_worker()
            code = process.wait()
        if (
            job.began is not None
            and time.monotonic() - job.began >= self._settings.limits.job_minutes * 60
        ):
            return f"took longer than {self._settings.limits.job_minutes:g} minutes and was stopped"
        if code in (-signal.SIGKILL if hasattr(signal, "SIGKILL") else None, 137):
            return (
                "the process that segmented it was killed, most likely because memory ran out; "
                "crop the scan to the abdomen"
            )
        return (
            f"the process that segmented it ended unexpectedly (code {code}); "
            "the file may be damaged"
        )

    def _running_worker(self) -> subprocess.Popen[str]:
        """Return the worker, starting it if necessary. The caller holds the guard."""
        if self._renew and self._process is not None and self._process.poll() is None:
            self._kill_worker()
        self._renew = False
        if self._process is None or self._process.poll() is not None:
            if self._process is not None:
                log.warning(
                    "the worker ended (code %s); starting another", self._process.returncode
                )
                self._kill_worker()
            if self._stopping.is_set():
                raise NnStudentError("the service is stopping")
            self._process = self._start_worker()
        return self._process

    def _start_worker(self) -> subprocess.Popen[str]:
        settings = self._settings
        command = [
            sys.executable,
            "-m",
            "nnstudent.web.worker",
            "--voxels",
            str(settings.limits.voxels),
        ]
        command += ["--model", str(self._model)] if self._model else []
        command += ["--threads", str(settings.threads)] if settings.threads else []
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Libraries quote what they fail on, which may be a patient's name.
            stderr=None if settings.debug else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
            start_new_session=True,  # Ctrl-C goes to the service, which stops the worker itself
        )

    def _kill_worker(self) -> None:
        """Kill the worker. The caller holds the guard."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):  # from data that was not written yet
                    self._process.stdin.close()
            self._process = None


def clean_message(message: str, job: Job) -> str:
    """Return a message in one line, without folders, and with the sender's names of files."""
    for path in job.input.glob("*") if job.kind == "image" else ():
        message = message.replace(str(path), job.name).replace(path.name, job.name)
    for path in (job.input, job.output, job.folder):
        message = message.replace(f"{path}/", "").replace(str(path), job.name)
    if job.kind == "dicom":
        names = _sent_names(job)
        message = _NUMBERED.sub(lambda found: names.get(found[0], found[0]), message)
    return " ".join(message.split())


def _sent_names(job: Job) -> dict[str, str]:
    """Read the sender's names of the files of a DICOM folder; empty if they are unknown."""
    try:
        names = read_json(job.folder / NAMES, what="names of files")
    except InputError:
        return {}
    return (
        {str(number): str(name) for number, name in names.items()}
        if isinstance(names, dict)
        else {}
    )
