"""Records of jobs on disk, also damaged ones."""

from __future__ import annotations

import json
import os
import time

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

from nnstudent.web.job import Job
from nnstudent.web.job_records import JobRecords
from nnstudent.web.jobs import Jobs
from nnstudent.web.settings import Limits
from tests.web.test_jobs import added


def test_what_is_saved_is_loaded_and_an_incomplete_upload_is_removed(tmp_path):
    records = JobRecords(tmp_path, keep_hours=1)
    job = Job("a" * 32, tmp_path / ("a" * 32), "me", "scan", "image", 5.0, warnings=["tilted"])
    for folder in (job.folder, tmp_path / ("b" * 32), tmp_path / "not a job"):
        folder.mkdir()
    records.save(job)
    (again,) = JobRecords(tmp_path, keep_hours=1).load()
    assert again.record() == job.record()
    assert {path.name for path in tmp_path.iterdir()} == {job.id, "not a job"}


def changed(record: dict, **fields: object) -> str:
    return json.dumps({**record, **fields})


DAMAGED = {
    "empty": lambda record: "",
    "a list": lambda record: "[]",
    "cut off": lambda record: json.dumps(record)[:-20],
    "nested": lambda record: "[" * 100_000,
    "a long number": lambda record: changed(record, created=0).replace(
        '"created": 0', '"created": ' + "9" * 5000
    ),
    "no owner": lambda record: json.dumps(
        {key: value for key, value in record.items() if key != "owner"}
    ),
    "an unknown state": lambda record: changed(record, state="lost"),
    "a wrong type": lambda record: changed(record, created="yesterday"),
    "not a number": lambda record: changed(record, created=0).replace(
        '"created": 0', '"created": NaN'
    ),
    "another id": lambda record: changed(record, id="0" * 32),
    "an id that leads out": lambda record: changed(record, id="../../etc"),
    "organs of another shape": lambda record: changed(record, organs=[{"name": "liver"}]),
    "a delivery of another shape": lambda record: changed(record, origin={"delivery": "soon"}),
    "a file that is none of ours": lambda record: changed(record, files=["../../secret"]),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_record_is_named_and_passed_over(tmp_path, how, caplog):
    jobs = Jobs(tmp_path, Limits())
    bad, good = added(jobs, "Secretname"), added(jobs, "good")
    record = bad.folder / "job.json"
    record.write_text(DAMAGED[how](json.loads(record.read_text())))
    again = Jobs(tmp_path, Limits())
    assert [job.id for job in again.all()] == [good.id]
    assert str(record) in caplog.text
    assert "Secretname" not in caplog.text
    assert (bad.input / "00000.nii.gz").is_file(), "nothing of it is lost"
    again.sweep()
    assert bad.folder.exists()
    old = time.time() - 25 * 3600
    os.utime(bad.folder, (old, old))
    again.sweep()
    assert not bad.folder.exists(), "it is kept no longer than others"


def test_a_record_that_is_a_folder_or_a_dangling_link_stops_nothing(tmp_path):
    for number, make in enumerate(
        (lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere"))
    ):
        folder = tmp_path / f"{number:032x}"
        folder.mkdir()
        make(folder / "job.json")
    assert Jobs(tmp_path, Limits()).all() == []
