"""Training in the background, one at a time; a student is used only if it is no worse."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnstudent.bundle.bundle import Model
from nnstudent.errors import InputError
from nnstudent.machine import cores
from nnstudent.web.datastore.models import Models
from nnstudent.web.datastore.scans import ConflictError
from nnstudent.web.settings import SECRETS, Settings

log = logging.getLogger(__name__)

State = Literal["running", "done", "failed", "stopped"]


@dataclass
class Training:
    """One training.

    Attributes:
        number: Its number, that of the student.
        by: Who began it.
        state: Its state.
        began: Seconds since the epoch.
        ended: The same; None while it runs.
        progress: The running step, its parts done, and its parts in all.
        steps: Steps of the network's training that are done, and in all.
        why: How it ended, in one line.
        used: Whether the student replaced the model.
    """

    number: int
    by: str
    state: State = "running"
    began: float = field(default_factory=time.time)
    ended: float | None = None
    progress: tuple[str, int, int] | None = None
    steps: tuple[int, int] = (0, 0)
    why: str = ""
    used: bool = False


class Learning:
    """Trains students on what was corrected. Every method may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        corrections: Path,
        *,
        swap: Callable[[Model], None],
    ) -> None:
        """Train with the settings' preset; without one, nothing is trained.

        Args:
            settings: How the service runs.
            models: Where students are kept.
            corrections: The cohort of corrected scans.
            swap: Called with each model that is to be used from now on.
        """
        self._settings = settings
        self._models = models
        self._corrections = corrections
        self._swap = swap
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self.last: Training | None = None

    @property
    def possible(self) -> bool:
        """Whether this service can train."""
        return self._settings.preset is not None

    @property
    def running(self) -> bool:
        """Whether a training runs."""
        return self.last is not None and self.last.state == "running"

    def start(self) -> None:
        """Do nothing; a training begins when somebody asks for it."""

    def stop(self) -> None:
        """Stop a training that runs."""
        self.give_up()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def begin(self, by: str) -> Training:
        """Begin a training.

        Raises:
            ConflictError: One runs already.
            InputError: The service does not train, or nothing was corrected.
        """
        with self._lock:
            if not self.possible:
                raise InputError(
                    "this service does not train; start it with --learn PRESET to let it"
                )
            if self.last is not None and self.running:
                raise ConflictError(
                    f"a training runs already, begun by {self.last.by}; wait for it, or stop it"
                )
            if not (self._corrections / "cohort.json").is_file():
                raise InputError("no scan has been corrected yet; there is nothing to learn from")
            number, out = self._models.new()
            self.last = training = Training(number, by)
            self._process = self._started(out)
            self._thread = threading.Thread(
                target=self._follow, args=(training, self._process), daemon=True
            )
            self._thread.start()
            log.info("training %d: begun", number)
            return training

    def give_up(self) -> bool:
        """Stop the training that runs; return whether there was one."""
        with self._lock:
            if not self.running or self._process is None:
                return False
            if self.last is not None:
                self.last.state = "stopped"
            self._process.kill()
            return True

    def go_back(self) -> None:
        """Use the model that was used before the last student.

        Raises:
            ConflictError: There is none.
        """
        with self._lock:
            self._swap(self._models.go_back())

    def _started(self, out: Path) -> subprocess.Popen[str]:
        settings = self._settings
        number = self._models.number
        model = self._models.bundle(number) if number else settings.model
        threads = max(1, min(settings.threads or cores(), cores() - 1))  # one core stays free
        command = [sys.executable, "-m", "nnstudent.web.datastore.learner"]
        command += ["--preset", str(settings.preset), "--corrections", str(self._corrections)]
        command += ["--out", str(out), "--threads", str(threads)]
        command += ["--model", str(model)] if model else []
        command += ["--rehearsal", str(settings.rehearsal)] if settings.rehearsal else []
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=None if settings.debug else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
            start_new_session=True,
        )

    def _follow(self, training: Training, process: subprocess.Popen[str]) -> None:
        """Read what a training says until it ends, and use its student if it is no worse."""
        answer: dict[str, Any] = {}
        if process.stdout is not None:
            with suppress(ValueError, OSError):  # it was killed in the middle of a line
                for line in process.stdout:
                    message = json.loads(line)
                    if "progress" in message:
                        what, done, total = message["progress"]
                        training.progress = (what, done, total)
                        if what.startswith("student"):
                            training.steps = (done, total)
                    else:
                        answer = message
        code = process.wait()
        with self._lock:
            self._end(training, answer, code)
        log.info("training %d: %s", training.number, training.state)

    def _end(self, training: Training, answer: dict[str, Any], code: int) -> None:
        training.ended, training.progress = time.time(), None
        if training.state == "stopped":
            training.why = "it was stopped; the model is as it was"
        elif "learned" in answer:
            training.state, training.why = "done", answer["learned"]["why"]
            self._models.record(training.number, answer["learned"])
            if answer["learned"]["better"]:
                self._swap(self._models.use(training.number))
                training.used = True
        else:
            training.state = "failed"
            training.why = answer.get("error") or (
                f"the training ended unexpectedly (code {code}), most likely because memory ran out"
            )
        training.why = self._without_folders(training.why)
        self._models.tidy(training.number)

    def _without_folders(self, line: str) -> str:
        """Return a line without the folders of this machine: everybody who corrects reads it."""
        settings = self._settings
        folders = [self._corrections.parent, settings.work, self._models.base.path.parent]
        folders += [settings.rehearsal.parent] if settings.rehearsal else []
        for folder in sorted(folders, key=lambda folder: -len(str(folder))):
            line = line.replace(f"{folder}{os.sep}", "")
        return line
