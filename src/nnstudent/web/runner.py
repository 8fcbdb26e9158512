"""Keeps the worker process at work: one job after another, a new process where one died."""

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

from nnstudent.errors import InputError, NnStudentError
from nnstudent.serialization import read_json
from nnstudent.web.job import NAMES, Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.settings import SECRETS, Settings

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"\b\d{5}\.dcm\b")  # as uploads are called on disk
_SWEEP = 60.0  # seconds between two looks at what is old


class Runner:
    """A thread that hands jobs to the worker process and records what becomes of them."""

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        """A runner of these jobs; :meth:`start` starts it."""
        self._jobs = jobs
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self._stopping = threading.Event()
        self._guard = (
            threading.Lock()
        )  # of the next two; never held while the jobs' own lock is asked for
        self._process: subprocess.Popen[str] | None = None
        self._current: Job | None = None
        jobs.stop = self.abandon

    @property
    def pid(self) -> int | None:
        """Of the worker process, if there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the worker, and work."""
        self._thread.start()

    def stop(self) -> None:
        """Stop at once; a job that ran is begun anew when the service starts again."""
        self._stopping.set()
        with self._guard:
            self._kill()
        self._thread.join(timeout=10)

    def abandon(self, job: Job) -> None:
        """End the work on a job, if it is the one that runs."""
        with self._guard:
            if self._current is job:
                self._kill()

    def _run(self) -> None:
        swept = time.monotonic()
        with suppress(OSError, NnStudentError), self._guard:
            self._ensure()  # so that the model is loaded when the first scan comes; else the next try is its
        while not self._stopping.is_set():
            try:
                job = self._jobs.take(timeout=1.0)
                if job is not None:
                    self._segment(job)
                if job is not None or time.monotonic() - swept > _SWEEP:
                    swept = time.monotonic()
                    self._jobs.sweep()
            except Exception as error:  # the service goes on; the text could name a file
                log.error(
                    "the runner met an unexpected %s",
                    type(error).__name__,
                    exc_info=self._settings.debug,
                )
                self._stopping.wait(1.0)

    def _segment(self, job: Job) -> None:
        try:
            source = job.source
        except (OSError, StopIteration):
            self._jobs.finish(
                job, error="the scan is no longer on the disk of the service; send it again"
            )
            return
        try:
            self._hand_over(job, source)
        except Exception as error:
            log.error(
                "job %s: met an unexpected %s",
                job.id[:8],
                type(error).__name__,
                exc_info=self._settings.debug,
            )
            if not self._stopping.is_set():  # else it starts anew with the service
                self._jobs.finish(
                    job,
                    error=f"the service met an unexpected {type(error).__name__}; send the scan again",
                )

    def _hand_over(self, job: Job, source: Path) -> None:
        with self._guard:
            self._current = job
            process = self._ensure()
        limit = threading.Timer(self._settings.limits.job_minutes * 60, self.abandon, (job,))
        limit.daemon = True
        limit.start()
        try:
            answer = self._converse(process, job, source)
        finally:
            limit.cancel()
            with self._guard:
                self._current = None
        if answer is None and self._stopping.is_set():
            return  # its record says that it runs, which is what makes it start anew
        if answer is None:
            answer = {"error": self._died(process, job)}  # of no interest if the job was removed
        if "error" in answer:
            self._jobs.finish(job, error=tidy(answer["error"], job))
        else:
            said = [tidy(warning, job) for warning in answer["warnings"]]
            self._jobs.finish(job, files=answer["files"], organs=answer["organs"], warnings=said)

    def _converse(
        self, process: subprocess.Popen[str], job: Job, source: Path
    ) -> dict[str, Any] | None:
        """Have the worker do a job; None if it died."""
        order = {"source": str(source), "output": str(job.output), "name": job.name}
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
        except (OSError, ValueError) as error:  # it died in the middle of something
            log.debug("the worker cannot be talked to: %s", type(error).__name__)
        return None

    def _died(self, process: subprocess.Popen[str], job: Job) -> str:
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it lives, but cannot be talked to
            with self._guard:
                self._kill()
            code = process.wait()
        if (
            job.began is not None
            and time.monotonic() - job.began >= self._settings.limits.job_minutes * 60
        ):
            return f"took longer than {self._settings.limits.job_minutes:g} minutes and was stopped"
        if code in (-signal.SIGKILL if hasattr(signal, "SIGKILL") else None, 137):
            return "the process that segmented it was killed, most likely because memory ran out; cut the scan to the abdomen"
        return f"the process that segmented it ended unexpectedly (code {code}); the file may be damaged"

    def _ensure(self) -> subprocess.Popen[str]:
        """The worker, started if there is none. To be called under the guard."""
        if self._process is None or self._process.poll() is not None:
            if self._process is not None:
                log.warning(
                    "the worker ended (code %s); starting another", self._process.returncode
                )
                self._kill()
            if self._stopping.is_set():
                raise NnStudentError("the service stops")
            self._process = self._start()
        return self._process

    def _start(self) -> subprocess.Popen[str]:
        settings = self._settings
        command = [
            sys.executable,
            "-m",
            "nnstudent.web.worker",
            "--voxels",
            str(settings.limits.voxels),
        ]
        command += ["--model", str(settings.model)] if settings.model else []
        command += ["--threads", str(settings.threads)] if settings.threads else []
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None
            if settings.debug
            else subprocess.DEVNULL,  # libraries quote what they stumble over, a patient's name too
            text=True,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
            start_new_session=True,  # Ctrl-C is for the service, which ends its worker itself
        )

    def _kill(self) -> None:
        """End the worker. To be called under the guard."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):  # what was still to be written
                    self._process.stdin.close()
            self._process = None


def tidy(message: str, job: Job) -> str:
    """A message of the pipeline in one line, without the folders of the service, and with the names that the sender gave to files."""
    for path in job.input.glob("*") if job.kind == "image" else ():
        message = message.replace(str(path), job.name).replace(path.name, job.name)
    for path in (job.input, job.output, job.folder):
        message = message.replace(f"{path}/", "").replace(str(path), job.name)
    if job.kind == "dicom":
        names = _names(job)
        message = _NUMBERED.sub(lambda found: names.get(found[0], found[0]), message)
    return " ".join(message.split())


def _names(job: Job) -> dict[str, str]:
    """What the sender called the files of a DICOM folder; nothing where it came from an archive."""
    try:
        names = read_json(job.folder / NAMES, what="names of files")
    except InputError:
        return {}
    return (
        {str(number): str(name) for number, name in names.items()}
        if isinstance(names, dict)
        else {}
    )
