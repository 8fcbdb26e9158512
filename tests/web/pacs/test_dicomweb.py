"""Requests to a DICOMweb service, and what becomes of its refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.errors import InputError
from nnstudent.web.pacs.dicomweb import DicomWeb
from nnstudent.web.pacs.errors import PacsError, UnreachableError
from tests.io.series import Series
from tests.web.pacs.fake import Fake


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake(Series(number=7))
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(
    "url", ["pacs", "ftp://pacs/x", "http://", "http://pacs/x?y", "https://clerk:secret@pacs/x"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(InputError) as error:
        DicomWeb(url)
    assert "secret" not in str(error.value)


def test_a_dead_pacs_is_one_line(fake):
    fake.server.shutdown()
    fake.server.server_close()
    with pytest.raises(UnreachableError) as error:
        DicomWeb(fake.url).query("/studies", {})
    assert (
        str(error.value) == f"the PACS at {fake.url} cannot be reached (Connection refused); "
        "check that it is running and that the address is right"
    )


def test_an_answer_that_drips_is_given_up(fake, monkeypatch):
    monkeypatch.setattr("nnstudent.web.pacs.dicomweb._ANSWER_SECONDS", -1.0)
    fake.answers["/dicom-web/studies"] = [(200, "application/dicom+json", b"[ ]")]
    with pytest.raises(UnreachableError, match="took longer than"):
        DicomWeb(fake.url).query("/studies", {})


def test_only_an_unreachable_service_is_asked_again(fake):
    web, calls = DicomWeb(fake.url, waits=(0, 0)), []

    def call(error):
        calls.append(error)
        raise error

    with pytest.raises(UnreachableError):
        web.retry(lambda: call(UnreachableError("busy")))
    assert len(calls) == 3
    calls.clear()
    with pytest.raises(PacsError):
        web.retry(lambda: call(PacsError("refused")))
    assert len(calls) == 1
