"""The viewer as a part of the page."""

from __future__ import annotations

import gzip
import re

import pytest

from nnstudent.report import embed
from nnstudent.report.embed import find_viewer

pytest.importorskip("jinja2", reason="the report needs the extra [report]")
pytest.importorskip("matplotlib", reason="the report needs the extra [report]")


def test_a_viewer_that_was_built_cannot_end_its_own_script(monkeypatch, tmp_path):
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer" / "viewer.js.gz").write_bytes(
        gzip.compress(b"a='</SCRIPT>'; b='<!--'; c=1<2")
    )
    monkeypatch.setattr(embed, "files", lambda _: tmp_path)
    found = find_viewer()
    assert found.script == r"a='\x3c/SCRIPT>'; b='\x3c!--'; c=1<2"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", found.allowed)
