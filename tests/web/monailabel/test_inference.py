from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.web.datastore.scans import NotFoundError
from nnstudent.web.job import Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.monailabel.inference import answer, describe, parse_params, sender, wait_for
from nnstudent.web.settings import Limits


def job(**more):
    made = Job("0" * 32, Path(), "datastore", "p1", "image", 0.0)
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("text", ["", "null", "{}"])
def test_no_params_are_params(text):
    assert parse_params(text) == {}


@pytest.mark.parametrize(
    "text", ["[]", "3", "{", '"x"', '{"a": ' + "[" * 9000 + "]" * 9000 + "}", '{"a": NaN}']
)
def test_other_params_are_refused(text):
    with pytest.raises(InputError, match="params"):
        parse_params(text)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"client_id": "an\x00na"}, "anna"),
        ({"client_id": None}, "unnamed client"),
        ({}, "unnamed client"),
    ],
)
def test_a_client_s_name_is_plain_text(params, name):
    assert sender(params) == name


def test_only_classes_that_occur_are_named():
    organs = [
        {"id": 1, "name": "liver", "volume_ml": 9.0, "confidence": 0.9},
        {"id": 3, "name": "spleen", "volume_ml": 0.0, "confidence": None},
    ]
    assert describe(job(organs=organs))["label_names"] == {"liver": 1}


def test_who_waits_gets_the_end_the_error_or_the_removal(tmp_path):
    jobs = Jobs(tmp_path, Limits())
    with pytest.raises(NotFoundError, match="removed"):
        asyncio.run(wait_for(job(), jobs))
    with pytest.raises(InputError, match="out of luck"):
        asyncio.run(wait_for(job(state="failed", error="out of luck"), jobs))
    waiting = job()
    jobs._jobs[waiting.id] = waiting
    threading.Timer(0.2, lambda: setattr(waiting, "state", "done")).start()
    assert asyncio.run(wait_for(waiting, jobs)) is waiting


def test_an_unknown_form_is_refused(tmp_path):
    for output, words in (("xml", "unknown output"), ("dicom_seg", "no DICOM series")):
        with pytest.raises(InputError, match=words):
            asyncio.run(answer(job(), output=output, params={}, folder=tmp_path, name="p1"))
