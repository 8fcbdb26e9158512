"""Studies in the queue: fetched, resumed after a restart, delivered; with a simulated PACS."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.errors import InputError
from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.client import PacsClient
from nnstudent.web.pacs.deliver import SEG, Delivery
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from nnstudent.web.pacs.fetch import Fetcher
from nnstudent.web.pacs.setup import connect
from nnstudent.web.settings import Limits, PacsSettings
from tests.io.series import Series, save
from tests.web.conftest import taking_in

STUDY = "1.2.3"
LIMITS = Limits(upload_bytes=1_000_000, disk_bytes=3_000_000)


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
def jobs(tmp_path) -> Jobs:
    return Jobs(tmp_path / "jobs", LIMITS)


def until(true, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def fetching(jobs):
    """Makes a fetcher from a played PACS; stopped at the end."""
    made = []

    def make(pacs, of=jobs):
        made.append(Fetcher(of, pacs, LIMITS))
        made[-1].start()
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.stop()


def test_a_study_is_no_workers_turn_before_it_is_there(jobs, fetching):
    pacs = Played()
    fetcher = fetching(pacs)
    job = fetcher.request(STUDY, owner="a")
    assert fetcher.request(STUDY, owner="a") is job
    assert fetcher.request(STUDY, owner="b") is not job
    until(lambda: job.progress == ("fetching", 1, 3))
    assert jobs.take_next(timeout=0.1) is None
    assert jobs.place(job) is None
    assert job.bytes == LIMITS.upload_bytes, "room is kept for it"
    pacs.go.set()
    assert jobs.take_next(timeout=5) is job
    assert (job.arrived, job.warnings, pacs.asked[0]) == (True, ["took one of two"], STUDY)
    assert job.bytes < 10_000
    jobs.finish(job, warnings=["more"])
    assert job.warnings == ["took one of two", "more"]


def test_what_was_asked_for_is_fetched_after_a_restart(jobs, fetching, tmp_path):
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


def test_a_job_that_is_removed_is_not_fetched_on(jobs, fetching):
    pacs = Played()
    fetcher = fetching(pacs)
    first = fetcher.request(STUDY, owner="a")
    until(lambda: first.progress)
    jobs.remove(first)
    second = fetcher.request("1.2.4", owner="a")
    until(lambda: pacs.asked[-1] == "1.2.4")
    pacs.go.set()
    assert jobs.take_next(timeout=5) is second
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
    jobs, fetching, error, caplog
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
    assert jobs.take_next(timeout=5) is job


@pytest.fixture
def done(jobs):
    """Makes a job of a study that is done, with a DICOM-SEG of a study."""

    def make(seg_of=STUDY):
        with jobs.draft(reserve=0) as draft:
            job = jobs.add(draft, owner="a", name="x", kind="dicom", origin={"study": STUDY})
        assert jobs.take_next(timeout=0) is job
        header = Series().slices[0]
        header.StudyInstanceUID = seg_of
        if seg_of:
            save(header, job.output / SEG)
        jobs.finish(job, files=[SEG] if seg_of else [])
        return job

    return make


def test_results_are_delivered_when_the_pacs_is_back(jobs, done):
    tries = []

    def send(study, path):
        tries.append((study, path.name))
        if len(tries) < 3:
            raise UnreachableError("gone")

    delivery = Delivery(jobs, send, where="there", waits=(0.01, 0.01))
    delivery.start()
    job = done()
    until(lambda: job.origin.get("delivery", {}).get("state") == "stored")
    delivery.stop()
    assert tries == [(STUDY, SEG)] * 3


def test_what_could_not_be_delivered_is_told_and_tried_after_a_restart(
    jobs, done, tmp_path, caplog
):
    def dead(study, path):
        raise UnreachableError("the PACS is gone")

    delivery = Delivery(jobs, dead, where="there", waits=(0.01,))
    delivery.start()
    job = done()
    until(lambda: job.origin.get("delivery", {}).get("state") == "failed")
    delivery.stop()
    assert job.origin["delivery"]["error"] == "the PACS is gone"
    assert "the PACS is gone" in caplog.text
    assert STUDY not in caplog.text
    after, stored = Jobs(tmp_path / "jobs", LIMITS), []
    delivery = Delivery(after, lambda study, path: stored.append(study), where="there")
    delivery.start()
    until(lambda: stored == [STUDY])
    delivery.stop()
    assert after.all()[0].origin["delivery"] == {"state": "stored", "error": None}
    delivery = Delivery(after, dead, where="there")
    delivery.start()
    delivery.stop()
    assert after.all()[0].origin["delivery"]["state"] == "stored", "not twice"


@pytest.mark.parametrize(
    ("seg_of", "state", "said"),
    [("1.2.4", "failed", "another study"), ("", "nothing", "no DICOM-SEG")],
)
def test_nothing_is_stored_where_it_does_not_belong(jobs, done, seg_of, state, said):
    stored = []
    delivery = Delivery(jobs, lambda study, path: stored.append(study), where="there")
    delivery.start()
    job = done(seg_of)
    until(lambda: job.origin.get("delivery", {}).get("state") == state)
    delivery.stop()
    assert said in job.origin["delivery"]["error"]
    assert stored == []


@pytest.fixture
def joined(settings):
    return replace(settings, pacs=PacsSettings(url="http://127.0.0.1:9/dicom-web"))


def test_the_routes(joined, monkeypatch):
    monkeypatch.setattr(
        PacsClient.__init__,
        "__kwdefaults__",
        {"authorization": None, "waits": (), "seconds": (1, 1)},
    )
    with taking_in(joined) as (service, somebody):
        mine, other = somebody(), somebody()
        answer = mine.get("/api/pacs/studies")
        assert answer.status_code == 502
        assert "cannot be reached (Connection refused)" in answer.json()["error"]
        job = mine.post(f"/api/pacs/studies/{STUDY}")
        assert (job.status_code, job.json()["state"], job.json()["delivery"]) == (
            201,
            "queued",
            None,
        )
        assert mine.get(f"/api/jobs/{job.json()['id']}").status_code == 200
        assert other.get(f"/api/jobs/{job.json()['id']}").status_code == 404
        assert mine.post(f"/api/pacs/studies/{STUDY}").json()["id"] == job.json()["id"]
        for bad in ("1..2", "x", "1." * 40):
            assert mine.post(f"/api/pacs/studies/{bad}").status_code == 422
        for bad in ("days=-1", "limit=0", "accession=*"):
            assert mine.get(f"/api/pacs/studies?{bad}").status_code == 422
        assert len(service.jobs) == 1


def test_without_a_pacs_there_are_no_routes(settings):
    with taking_in(settings) as (_, somebody):
        assert somebody().get("/api/pacs/studies").status_code == 404
        assert "/api/pacs/studies" not in somebody().get("/api/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("pacs", "message"),
    [
        (PacsSettings(listen=("127.0.0.1", 0)), "nowhere to send results to"),
        (PacsSettings(peer="A@b:1"), "no scan is received"),
        (PacsSettings(url="http://a/b", title="x" * 17), "application entity title"),
        (PacsSettings(url="http://a/b", peer="A"), "expected AET@HOST:PORT"),
        (PacsSettings(url="nowhere"), "expected the root of its DICOMweb service"),
    ],
)
def test_unusable_settings_are_refused_before_work_begins(jobs, settings, pacs, message):
    with pytest.raises(InputError, match=message):
        connect(jobs, replace(settings, pacs=pacs))
