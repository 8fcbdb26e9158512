"""The service without its web application: jobs, worker, sessions, connection to a PACS."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.io.atomic import make_folder
from nnstudent.io.lock import writing
from nnstudent.web.datastore.datastore import Datastore, open_datastore
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.setup import Part, connect
from nnstudent.web.runner import Runner
from nnstudent.web.sessions import Sessions, load_or_create_secret
from nnstudent.web.settings import Settings


class Service:
    """A queue of jobs and the worker that segments them.

    Attributes:
        settings: How it runs.
        jobs: The queue; a job that is added to it is segmented.
        runner: Hands jobs to the worker process.
        sessions: Identifies users.
        pacs: The connection to a PACS; empty if there is none.
        datastore: The scans that users correct together; None if there are none.
        parts: Everything that starts and stops with the service; the runner is first.
    """

    def __init__(self, settings: Settings) -> None:
        """Lock the work folder and load the jobs in it.

        Raises:
            InputError: The model does not exist, or the settings of the PACS are unusable.
            MissingExtraError: A library for the PACS is not installed.
            OutputError: The folder cannot be written to, or another service uses it.
        """
        self.settings = settings
        self._base: Model = open_model(settings.model)
        self._locks = ExitStack()
        make_folder(settings.work)
        settings.work.chmod(0o700)
        self._locks.enter_context(writing(settings.work))
        try:
            self.jobs = Jobs(settings.work / "jobs", settings.limits)
            self.runner = Runner(self.jobs, settings)
            self.datastore = self._datastore()
            secret = load_or_create_secret(settings.work / "secret")
            self.sessions = Sessions(secret, settings)
            self.pacs = connect(self.jobs, settings)
        except BaseException:
            self._locks.close()
            raise
        self.parts: list[Part] = [self.runner, *self.pacs.parts]
        if self.datastore is not None:
            self.parts += [self.datastore.learning, self.datastore.ahead]
        self._started: list[Part] = []
        self._guard = threading.Lock()

    @property
    def model(self) -> Model:
        """The model that segments now."""
        return self._base if self.datastore is None else self.datastore.store.model

    def _datastore(self) -> Datastore | None:
        if self.settings.datastore is None:
            return None
        return open_datastore(
            self.settings.datastore, self.settings, self.jobs, base=self._base, runner=self.runner
        )

    def start(self) -> None:
        """Start every part."""
        with self._guard:
            for part in self.parts:
                self._started.append(part)
                part.start()

    def stop(self) -> None:
        """Stop every part, last started first, and unlock the folder; calling it twice is safe."""
        with self._guard:
            while self._started:
                self._started.pop().stop()
            self._locks.close()
