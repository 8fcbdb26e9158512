"""The description of the API that the page's types are generated from is that of the service."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

from nnstudent.web.app import create_app
from nnstudent.web.service import Service
from nnstudent.web.settings import Settings
from tests.conftest import ROOT

WRITTEN = ROOT / "frontend" / "openapi.json"


def described() -> str:
    """Return the OpenAPI description without the package's version, which changes often."""
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        scans.mkdir()
        found = create_app(Service(Settings(Path(folder) / "work", datastore=scans))).openapi()
    found["info"]["version"] = "0"
    return json.dumps(found, indent=1) + "\n"


def test_the_written_description_is_that_of_the_service() -> None:
    anew = "write it again: python -m tests.web.test_openapi > frontend/openapi.json"
    assert json.loads(WRITTEN.read_text("utf-8")) == json.loads(described()), anew


if __name__ == "__main__":
    print(described(), end="")
