"""The page's files."""

from __future__ import annotations

import gzip

from fastapi.testclient import TestClient

from nnstudent.web.app import create_app
from nnstudent.web.page import Page
from nnstudent.web.service import Service
from tests.web.conftest import ADDRESS


def test_files_are_sent_as_they_lie(tmp_path, monkeypatch, settings):
    page, viewer = tmp_path / "page", tmp_path / "viewer"
    (page / "assets").mkdir(parents=True)
    viewer.mkdir()
    (page / "index.html").write_text("<!doctype html>the page")
    (page / "assets" / "main-1a2b.js").write_text("const a = 1")
    (viewer / "viewer.js.gz").write_bytes(gzip.compress(b"const b = 2"))
    monkeypatch.setattr("nnstudent.web.page.FOLDERS", (page, viewer))
    service = Service(settings)
    client = TestClient(create_app(service), base_url=ADDRESS)
    answer = client.get("/")
    assert (answer.text, answer.headers["Cache-Control"]) == ("<!doctype html>the page", "no-cache")
    answer = client.get("/assets/main-1a2b.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in answer.headers["Cache-Control"]
    answer = client.get("/viewer.js")
    assert (answer.text, answer.headers["Content-Encoding"]) == ("const b = 2", "gzip")
    for path in ("/assets/", "/none.js", "/../page.py", "/%2e%2e/page.py", "/assets/..%2f..%2fpage.py", "/secret"):
        assert client.get(path).status_code == 404
    service.stop()


def test_a_page_that_was_not_built_says_how(tmp_path):
    page = Page(tmp_path / "none")
    assert b"make web" in page.get("").body
    assert page.get("viewer.js") is None
