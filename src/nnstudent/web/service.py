"""The service without its web: the jobs, who works on them, and what else lives as long."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.io.atomic import make_folder
from nnstudent.io.lock import writing
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.setup import Part, connect
from nnstudent.web.runner import Runner
from nnstudent.web.sessions import Sessions, kept_secret
from nnstudent.web.settings import Settings


class Service:
    """Jobs and the worker. Whoever makes a job with :attr:`jobs` gets it segmented.

    Attributes:
        settings: How it runs.
        model: What it segments with.
        jobs: The queue.
        runner: What works on it.
        sessions: Who is who.
        hospital: What joins it to a hospital's archive, if anything.
        parts: What starts and stops with it; the runner is first.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the work folder, and the jobs that are in it.

        Raises:
            InputError: There is no such model, or what is said of the hospital's archive cannot be.
            MissingExtraError: What speaks with an archive is not installed.
            OutputError: The folder cannot be written, or another service has it.
        """
        self.settings = settings
        self.model: Model = open_model(settings.model)
        self._holds = ExitStack()
        make_folder(settings.work)
        settings.work.chmod(0o700)
        self._holds.enter_context(writing(settings.work))
        try:
            self.jobs = Jobs(settings.work / "jobs", settings.limits)
            self.runner = Runner(self.jobs, settings)
            self.sessions = Sessions(kept_secret(settings.work / "secret"), settings)
            self.hospital = connect(self.jobs, settings)
        except BaseException:
            self._holds.close()
            raise
        self.parts: list[Part] = [self.runner, *self.hospital.parts]
        self._started: list[Part] = []
        self._guard = threading.Lock()

    def start(self) -> None:
        """Start every part."""
        with self._guard:
            for part in self.parts:
                self._started.append(part)
                part.start()

    def stop(self) -> None:
        """Stop every part, the last first, and leave the folder; a second call does nothing."""
        with self._guard:
            while self._started:
                self._started.pop().stop()
            self._holds.close()
