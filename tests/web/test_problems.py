"""Errors as responses: one line, and nothing of the request or of the disk in it."""

from __future__ import annotations

import errno

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.web.forms import TooLargeError
from nnstudent.web.jobs import FullError
from nnstudent.web.pace import TooSlowError
from nnstudent.web.pacs.errors import PacsError
from nnstudent.web.problems import answer_errors

PATH = "/secret/patient.nii"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TooLargeError("more than 2 GB"), 413, "more than 2 GB"),
        (TooSlowError("stalled"), 408, "stalled"),
        (FullError("100 jobs\nare waiting"), 503, "100 jobs are waiting"),
        (InputError("not a scan"), 400, "not a scan"),
        (OutputError(f"{PATH}: no room"), 503, "not enough disk space; try again later"),
        (PacsError("does not answer"), 502, "does not answer"),
        (NnStudentError("odd"), 500, "odd"),
        (HTTPException(404, "no such job"), 404, "no such job"),
        (OSError(errno.ENOSPC, "No space left", PATH), 503, "not enough disk space"),
        (OSError(errno.EACCES, "Permission denied", PATH), 503, "cannot write to its disk"),
        (ValueError(PATH), 500, "unexpected error in the service (ValueError); it keeps running"),
    ],
)
def test_each_error_has_its_status_and_one_line(error, status, said, caplog) -> None:
    app = FastAPI()
    answer_errors(app)

    @app.get("/")
    def fail() -> None:
        raise error

    answer = TestClient(app, raise_server_exceptions=False).get("/")
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert PATH not in answer.text + caplog.text


def test_a_malformed_parameter_is_named_but_not_quoted() -> None:
    app = FastAPI()
    answer_errors(app)

    @app.get("/")
    def read(days: int) -> int:
        return days

    answer = TestClient(app).get("/?days=Secretname")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("query.days: ")
    assert "Secretname" not in answer.text
