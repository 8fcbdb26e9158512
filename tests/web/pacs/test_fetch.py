"""Fetching of studies from a PACS."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.errors import InputError
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.errors import PacsError
from nnstudent.web.pacs.fetch import Fetcher
from tests.web.pacs.conftest import LIMITS, STUDY, until


class Played:
    """A PACS that does what it is told."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.error, self.go, self.asked = error, threading.Event(), []

    def fetch(self, study, folder, *, limits, progress):
        self.asked.append(study)
        while not self.go.wait(0.02):
            progress(1, 3)
        if self.error:
            raise self.error
        for old in folder.iterdir():
            old.unlink()
        (folder / "00000.dcm").write_bytes(b"x" * 1000)
        return ["took one of two"]


@pytest.fixture
def fetching(queue):
    """Makes a fetcher from a played PACS; stopped at the end."""
    made = []

    def make(pacs, of=queue):
        made.append(Fetcher(of, pacs, LIMITS))
        made[-1].start()
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.stop()


def test_a_study_is_no_workers_turn_before_it_is_there(queue, fetching):
    pacs = Played()
    fetcher = fetching(pacs)
    job = fetcher.request(STUDY, owner="a")
    assert fetcher.request(STUDY, owner="a") is job
    assert fetcher.request(STUDY, owner="b") is not job
    until(lambda: job.progress == ("fetching", 1, 3))
    assert queue.take_next(timeout=0.1) is None
    assert queue.place(job) is None
    assert job.bytes == LIMITS.upload_bytes, "room is kept for it"
    pacs.go.set()
    assert queue.take_next(timeout=5) is job
    assert (job.arrived, job.warnings, pacs.asked[0]) == (True, ["took one of two"], STUDY)
    assert job.bytes < 10_000
    queue.finish(job, warnings=["more"])
    assert job.warnings == ["took one of two", "more"]


def test_what_was_asked_for_is_fetched_after_a_restart(queue, fetching, tmp_path):
    pacs = Played()
    fetcher = fetching(pacs)
    job = fetcher.request(STUDY, owner="a")
    until(lambda: job.progress)
    (job.input / "half.dcm").write_bytes(b"half")
    fetcher.stop()
    after = Jobs(tmp_path / "jobs", LIMITS)
    (job,) = after.all()
    assert (job.state, job.arrived) == ("queued", False)
    pacs.go.set()
    fetching(pacs, after)
    assert after.take_next(timeout=5) is job
    assert [path.name for path in job.input.iterdir()] == ["00000.dcm"]


def test_a_job_that_is_removed_is_not_fetched_on(queue, fetching):
    pacs = Played()
    fetcher = fetching(pacs)
    first = fetcher.request(STUDY, owner="a")
    until(lambda: first.progress)
    queue.remove(first)
    second = fetcher.request("1.2.4", owner="a")
    until(lambda: pacs.asked[-1] == "1.2.4")
    pacs.go.set()
    assert queue.take_next(timeout=5) is second
    assert not first.folder.exists()


@pytest.mark.parametrize(
    "error",
    [
        PacsError("no such study"),
        InputError("too much"),
        OSError(28, "No space"),
        ValueError("Secretname"),
    ],
)
def test_what_cannot_be_fetched_fails_in_one_line_and_the_next_is_fetched(
    queue, fetching, error, caplog
):
    pacs = Played(error=error)
    pacs.go.set()
    fetcher = fetching(pacs)
    job = fetcher.request(STUDY, owner="a")
    until(lambda: job.state == "failed")
    assert job.error
    assert "Secret" not in job.error + caplog.text
    pacs.error = None
    job = fetcher.request(STUDY, owner="a")
    assert queue.take_next(timeout=5) is job
