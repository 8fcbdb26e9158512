"""Scans are segmented ahead when a strategy wants them, one at a time and while nobody waits."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from nnstudent.web.datastore.ahead import Ahead
from nnstudent.web.jobs import Jobs
from nnstudent.web.service import Service
from nnstudent.web.settings import Limits, Settings
from tests.web.served import make_scans


@pytest.fixture
def service(tmp_path):
    """A service whose worker does not run, so that every job waits."""
    found = Service(Settings(tmp_path / "work", datastore=make_scans(tmp_path / "scans")))
    yield found
    found.stop()


def scans(jobs: Jobs) -> list[str]:
    return [str(job.origin.get("scan")) for job in jobs.all()]


def test_one_at_a_time_and_each_once(service):
    jobs, ahead = service.jobs, service.datastore.ahead
    assert ahead.queue_one()
    assert ahead.queue_one(), "not yet: the first one waits"
    assert scans(jobs) == ["p1_ct"]
    jobs.finish(jobs.all()[0], error="it is damaged")
    assert ahead.queue_one()
    jobs.finish(jobs.all()[1])
    assert scans(jobs) == ["p1_ct", "p2_ct"]
    assert not ahead.queue_one(), "what failed is not tried again"
    assert scans(jobs) == ["p1_ct", "p2_ct"]


def test_who_sends_a_scan_goes_first(service):
    with service.jobs.draft(reserve=0):
        assert service.datastore.ahead.queue_one()
        assert scans(service.jobs) == []
    assert service.datastore.ahead.queue_one()
    assert scans(service.jobs) == ["p1_ct"]


def test_results_of_others_are_not_pushed_out(service):
    store, limits = service.datastore.store, service.settings.limits
    small = Ahead(store, service.jobs, replace(limits, disk_bytes=0))
    service.jobs.finish(store.request(store.scans.find("p1_ct")))
    assert service.jobs.bytes > 0
    assert not small.queue_one()
    assert scans(service.jobs) == ["p1_ct"]
    assert Limits().disk_bytes > service.jobs.bytes


def test_a_strategy_chooses_among_all_when_it_is_asked_again(serving):
    """The first answer says among how many it chose, and has the others segmented."""
    client, datastore = serving.client("anna"), serving.service.datastore
    assert "note" not in client.next_sample("first").json
    first = client.next_sample("uncertainty").json
    assert first["note"] == (
        "none of 2 scans is segmented yet; this is the first by name; the others are being segmented"
    )
    until = time.monotonic() + 60
    while datastore.segmented < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert client.next_sample("uncertainty").json["note"] == "chosen among 2 of 2 scans"
