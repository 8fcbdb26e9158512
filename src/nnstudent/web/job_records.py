"""The records of jobs on disk, from which a restarted service knows its jobs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnstudent.errors import InputError, OutputError
from nnstudent.io.atomic import make_folder, write_json
from nnstudent.web.job import RECORD, Job, is_job_id, read_job

log = logging.getLogger(__name__)


class JobRecords:
    """A folder with a folder for each job, each of them with a record."""

    def __init__(self, folder: Path, *, keep_hours: float) -> None:
        """Use a folder; it is created if it does not exist.

        Args:
            folder: The folder.
            keep_hours: How long a job with a damaged record is kept, as the log says.

        Raises:
            OutputError: The folder cannot be created or written to.
        """
        self._folder = folder
        self._keep_hours = keep_hours
        self._damaged: set[Path] = set()  # folders of jobs with a damaged record
        make_folder(folder)

    def load(self) -> Iterator[Job]:
        """Read every job; remove incomplete uploads, and note and log damaged records."""
        for folder in sorted(self._folder.iterdir()):
            if not is_job_id(folder.name) or not folder.is_dir():
                continue
            if not (folder / RECORD).exists():
                shutil.rmtree(folder, ignore_errors=True)  # an incomplete upload
                continue
            try:
                job = read_job(folder)
            except InputError as error:
                self._damaged.add(folder)
                log.warning(
                    "a job is ignored: %s; its folder will be deleted after %g hours",
                    error,
                    self._keep_hours,
                )
                continue
            yield job

    def save(self, job: Job) -> None:
        """Write the record of a job.

        Raises:
            OutputError: It cannot be written.
        """
        write_json(job.folder / RECORD, job.record())

    def save_or_log(self, job: Job) -> None:
        """Save a job; a full disk is only logged, because after a restart the job is repeated."""
        try:
            self.save(job)
        except OutputError as error:
            log.error("job %s: its record cannot be written: %s", job.id[:8], error)

    def remove_damaged(self, before: float) -> None:
        """Remove jobs with a damaged record that were last modified before a time."""
        for folder in [folder for folder in self._damaged if _modified(folder) < before]:
            self._damaged.discard(folder)
            shutil.rmtree(folder, ignore_errors=True)
            log.info("job %s: removed, its record was damaged", folder.name[:8])


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
