"""The page of an audit."""

from __future__ import annotations

import pytest

from nnstudent.labels.audit import Audit, AuditedCase
from nnstudent.labels.suspicion import Finding
from tests.labels.torsos import write_torsos

pytest.importorskip("jinja2", reason="the extra [report] is not installed")
from nnstudent.report.audit import write_audit


def test_cases_beyond_the_pictures_are_listed_and_broken_ones_named(tmp_path):
    cohort = write_torsos(tmp_path, 3)
    finding = Finding("", "liver", "volume", 6.0, "volume <1> ml")
    cases = tuple(AuditedCase(f"t0{k}", (finding,) * (10 - k), 9.0 - k) for k in range(3))
    (tmp_path / "images" / "t01.nii.gz").unlink()
    failures = write_audit(tmp_path / "a.html", Audit(cases), cohort, most=2, title="A & B")
    assert [failure.case for failure in failures] == ["t01"]
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "A &amp; B" in page
    assert "volume &lt;1&gt; ml" in page
    assert page.count("data:image/jpeg") == 2  # of t00: one class, two planes
    assert "2 more in audit.csv" in page
    assert "Further cases" in page
    assert page.index("t00") < page.index("t01") < page.index("t02")


def test_without_a_finding_the_page_says_so(tmp_path):
    cohort = write_torsos(tmp_path, 1)
    assert write_audit(tmp_path / "a.html", Audit((AuditedCase("t00", (), 0.0),)), cohort) == ()
    assert "Nothing is unusual" in (tmp_path / "a.html").read_text("utf-8")
