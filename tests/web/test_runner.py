"""The process of the worker: started, watched, stopped."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import psutil
import pytest

from nnstudent.web.job import Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.runner import Runner
from tests.web.conftest import is_alive, limited


@pytest.fixture
def at_work(settings):
    """Jobs and the runner of a worker, with the limits that are asked for."""
    runners = []

    def start(**limits):
        jobs = Jobs(settings.work, replace(settings.limits, **limits))
        runner = Runner(jobs, limited(settings, **limits))
        runners.append(runner)
        runner.start()
        return jobs, runner

    yield start
    for runner in runners:
        runner.stop()


def queued(jobs: Jobs, phantom) -> Job:
    with jobs.draft(reserve=0) as draft:
        (draft.input / "00000.nii.gz").write_bytes(phantom.read_bytes())
        return jobs.add(draft, owner="me", name="CT", kind="image")


def ended(job: Job) -> Job:
    until = time.monotonic() + 100
    while job.state not in ("done", "failed") and time.monotonic() < until:
        time.sleep(0.05)
    return job


def test_a_job_that_does_not_end_is_given_up(at_work, long_phantom):
    jobs, _ = at_work(job_minutes=0.001)
    job = ended(queued(jobs, long_phantom))
    assert (job.state, job.error) == ("failed", "took longer than 0.001 minutes and was stopped")


def test_a_scan_that_is_gone_from_the_disk_fails_its_job_and_the_next_is_done(at_work, phantom):
    jobs, _ = at_work()
    with jobs.draft(reserve=0) as draft:
        gone = jobs.add(draft, owner="me", name="CT", kind="image")
    dicom = jobs.draft(reserve=0)
    with dicom as draft:
        folder = jobs.add(draft, owner="me", name="CT", kind="dicom")
        shutil.rmtree(folder.input)
    job = ended(queued(jobs, phantom))
    for other in (gone, folder):
        assert ended(other).state == "failed"
        assert "send it again" in other.error or "CT" in other.error
    assert (job.state, job.error) == ("done", None)


def test_the_worker_inherits_no_secret(at_work, monkeypatch):
    for name in ("NNSTUDENT_TOKEN", "NNSTUDENT_PACS_PASSWORD", "NNSTUDENT_PACS_TOKEN"):
        monkeypatch.setenv(name, "hush-hush-hush-hush")
    _, runner = at_work()
    while runner.pid is None:
        time.sleep(0.02)
    assert "hush" not in str(psutil.Process(runner.pid).environ())


def test_a_runner_that_stops_leaves_its_job_to_the_next(at_work, long_phantom, settings):
    jobs, runner = at_work()
    job = queued(jobs, long_phantom)
    while job.progress is None:
        time.sleep(0.02)
    pid = runner.pid
    runner.stop()
    assert not is_alive(pid)
    (kept,) = Jobs(settings.work, settings.limits).owned_by("me")
    assert (kept.id, kept.state, kept.attempts) == (job.id, "queued", 1)
    assert kept.source.is_file()
