"""Segmenting scans ahead, so that a strategy has more of them to choose among.

A scan at a time, and only while nobody waits for a result: whoever sends a scan waits for one of
these at most. Nothing is begun before somebody asks a strategy that measures scans.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from nnstudent.errors import NnStudentError
from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.datastore.store import Store
from nnstudent.web.jobs import FullError, Jobs
from nnstudent.web.settings import Limits

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between two looks at the queue
_MOST_DISK = 0.5  # of the service's: finished jobs of its users make room for others


class Ahead:
    """Queues the scans of a datastore that were not segmented yet."""

    def __init__(self, store: Store, jobs: Jobs, limits: Limits) -> None:
        """Do nothing until :meth:`want` is called."""
        self._store = store
        self._jobs = jobs
        self._limits = limits
        self._tried: set[tuple[str, str, str]] = set()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def want(self) -> None:
        """Have every scan segmented that was not."""
        self._wanted.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a scan that is queued stays so."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def queue_one(self) -> bool:
        """Queue the next scan if nothing else is to be done; return whether any may be left."""
        if not self._jobs.idle:
            return True
        if self._jobs.bytes > _MOST_DISK * self._limits.disk_bytes:
            return False
        scan = self._next()
        if scan is None:
            return False
        try:
            self._store.request(scan)
        except FullError:
            return True  # later
        except NnStudentError as error:  # it cannot be read; whoever opens it is told why
            log.debug("a scan cannot be segmented ahead: %s", type(error).__name__)
        return True

    def _next(self) -> Scan | None:
        """Return a scan that has no result and was not tried, with this model; None if none is."""
        done = {case.id for case in self._store.corrections.cohort()}
        for scan in self._store.scans.all():
            with suppress(NotFoundError):  # it was deleted a moment ago
                key = (scan.id, scan.stamp, self._store.model.hash)
                if scan.id in done or key in self._tried or self._store.result(scan) is not None:
                    continue
                self._tried.add(key)
                return scan
        return None

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()  # before looking, so that what is wanted meanwhile is not lost
            try:
                more = self.queue_one()
            except (NnStudentError, OSError) as error:
                log.warning("segmenting ahead stops: %s", type(error).__name__)
                more = False
            if more:
                self._stopping.wait(_LOOK_SECONDS)
                self._wanted.set()
