"""The routes of a service with a PACS."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.web.pacs.dicomweb import DicomWeb
from nnstudent.web.settings import PacsSettings
from tests.web.conftest import taking_in
from tests.web.pacs.conftest import STUDY


@pytest.fixture
def joined(settings):
    return replace(settings, pacs=PacsSettings(url="http://127.0.0.1:9/dicom-web"))


def test_the_routes(joined, monkeypatch):
    monkeypatch.setattr(
        DicomWeb.__init__,
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
