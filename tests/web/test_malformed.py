"""Any request is accepted or answered with a one-line reason, never with an internal error."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from nnstudent.web.app import create_app
from nnstudent.web.service import Service
from nnstudent.web.settings import Settings
from tests.web.conftest import ADDRESS, limited
from tests.web.malformed import bodies, headers

pytestmark = pytest.mark.slow

UPLOADS = int(os.environ.get("NNSTUDENT_UPLOADS", "150"))
QUESTIONS = int(
    os.environ.get("NNSTUDENT_QUESTIONS", "12")
)  # to each operation that the description names
_SLOW = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.function_scoped_fixture,
]


@pytest.fixture
def described(tmp_path):
    """Started by who asks, with a worker."""
    service = Service(
        replace(limited(Settings(tmp_path / "work", threads=1), jobs=10**6), names=("testserver",))
    )
    yield service
    service.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(Settings(tmp_path_factory.mktemp("w") / "work"))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def client(service):
    return TestClient(
        create_app(service), base_url=ADDRESS
    )  # an exception in it is one in the test


@settings(max_examples=UPLOADS, suppress_health_check=_SLOW)
@given(body=bodies())
def test_a_malformed_upload_is_answered(client, service, body):
    answer = client.post("/api/jobs", content=body, headers=headers())
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        client.delete(f"/api/jobs/{answer.json()['id']}")
    else:
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]
    assert list((service.settings.work / "jobs").iterdir()) == []


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_asked_as_the_description_says_or_not_quite_is_answered(described, mode):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", create_app(described))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {(operation.method, operation.path) for operation in operations} >= {
        ("post", "/api/jobs"),
        ("delete", "/api/jobs/{id}"),
    }
    codes = set()
    for operation in operations:

        @settings(max_examples=QUESTIONS, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            answer = case.call()
            case.validate_response(answer, checks=[not_a_server_error])
            codes.add(answer.status_code)

        with suppress(Unsatisfiable):  # there is no wrong way to ask for what takes nothing
            ask()
    assert codes >= ({200, 404} if mode is GenerationMode.POSITIVE else {400, 422})
