"""The page's files."""

from __future__ import annotations

import gzip
import re

from fastapi.testclient import TestClient

from nnstudent.web.app import create_app
from nnstudent.web.page import Page
from nnstudent.web.service import Service
from tests.web.conftest import ADDRESS, taking_in


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
    for path in (
        "/assets/",
        "/none.js",
        "/../page.py",
        "/%2e%2e/page.py",
        "/assets/..%2f..%2fpage.py",
        "/secret",
    ):
        assert client.get(path).status_code == 404
    service.stop()


def test_without_a_build_there_is_a_plain_page_and_after_it_the_built_one(tmp_path):
    page = Page(tmp_path / "page")
    html = page.get("").body.decode()
    assert "make web" in html
    assert "<script>" not in html
    assert not re.search(r"\son\w+=|\sstyle=", html), "nothing inline, so that the policy holds"
    wanted = re.findall(r'(?:href|src)="(plain\.\w+)"', html)
    assert wanted == ["plain.css", "plain.js"]
    types = [page.get(name).media_type for name in wanted]
    assert types == ["text/css", "text/javascript"]
    script = page.get("plain.js").body.decode()
    assert set(re.findall(r"\$\('(\w+)'\)", script)) <= set(re.findall(r'\sid="(\w+)"', html)), (
        "what it looks for is there"
    )
    assert "innerHTML" not in script, "a name is text, never markup"
    assert page.get("viewer.js") is None
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("the built page")
    assert page.get("").body == b"the built page", "without a restart"
    assert page.get("plain.js") is None


def test_what_the_plain_page_asks_is_there(settings, monkeypatch, tmp_path):
    monkeypatch.setattr("nnstudent.web.page.FOLDERS", (tmp_path / "none",))
    with taking_in(settings) as (_, client):
        script = client().get("/plain.js").text
        paths = client().get("/api/openapi.json").json()["paths"]
        for path in set(re.findall(r"['`](api/[^'`]*)['`]", script)):
            known = (
                re.sub(r"\$\{[^}]*\}", "{id}", path)
                .replace("files/{id}", "files/{file}")
                .replace("preview.png", "{file}")
            )
            assert f"/{known}" in paths, path
        fields = (
            client()
            .get("/api/openapi.json")
            .json()["components"]["schemas"]["JobOut"]["properties"]
        )
        assert set(re.findall(r"\bjob\.(\w+)", script)) <= set(fields)
