"""The ranked cases as a page."""

from __future__ import annotations

from pathlib import Path

from nnstudent.evaluation.ranking import RankedCase, RankedOrgan
from nnstudent.evaluation.ranking_page import ranking_page


def test_the_page_links_pictures_and_escapes_names(tmp_path: Path) -> None:
    liver = RankedOrgan("liver", "fail", 0.2, 0.1, 0.4)
    cases = (
        RankedCase("<b>&", (liver,), tmp_path / "<b>&.png"),
        RankedCase("fine", (RankedOrgan("spleen", "pass", 0.93, 0.9, 0.95),)),
    )
    page = ranking_page(cases, folder=tmp_path)
    assert page.index("&lt;b&gt;&amp;") < page.index("fine")
    assert 'src="&lt;b&gt;&amp;.png"' in page
    assert "<b>&" not in page
    assert "fail: liver 0.20 (0.10 to 0.40)" in page
    assert "pass: spleen 0.93" in page
    assert page.count("<img") == 1
