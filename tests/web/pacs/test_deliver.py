"""Delivery of results to a PACS."""

from __future__ import annotations

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.deliver import SEG, Delivery
from nnstudent.web.pacs.errors import UnreachableError
from tests.io.series import Series, save
from tests.web.pacs.conftest import LIMITS, STUDY, until


@pytest.fixture
def done(queue):
    """Makes a job of a study that is done, with a DICOM-SEG of a study."""

    def make(seg_of=STUDY):
        with queue.draft(reserve=0) as draft:
            job = queue.add(draft, owner="a", name="x", kind="dicom", origin={"study": STUDY})
        assert queue.take_next(timeout=0) is job
        header = Series().slices[0]
        header.StudyInstanceUID = seg_of
        if seg_of:
            save(header, job.output / SEG)
        queue.finish(job, files=[SEG] if seg_of else [])
        return job

    return make


def test_results_are_delivered_when_the_pacs_is_back(queue, done):
    tries = []

    def send(study, path):
        tries.append((study, path.name))
        if len(tries) < 3:
            raise UnreachableError("gone")

    delivery = Delivery(queue, send, where="there", waits=(0.01, 0.01))
    delivery.start()
    job = done()
    until(lambda: job.origin.get("delivery", {}).get("state") == "stored")
    delivery.stop()
    assert tries == [(STUDY, SEG)] * 3


def test_what_could_not_be_delivered_is_told_and_tried_after_a_restart(
    queue, done, tmp_path, caplog
):
    def dead(study, path):
        raise UnreachableError("the PACS is gone")

    delivery = Delivery(queue, dead, where="there", waits=(0.01,))
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
def test_nothing_is_stored_where_it_does_not_belong(queue, done, seg_of, state, said):
    stored = []
    delivery = Delivery(queue, lambda study, path: stored.append(study), where="there")
    delivery.start()
    job = done(seg_of)
    until(lambda: job.origin.get("delivery", {}).get("state") == state)
    delivery.stop()
    assert said in job.origin["delivery"]["error"]
    assert stored == []
