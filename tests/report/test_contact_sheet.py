"""The figure of cases."""

from __future__ import annotations

import shutil

from PIL import Image

from nnstudent.report import write_tables
from nnstudent.report.load import load_run
from nnstudent.report.overlays import make_overlays


def test_the_figure_has_the_two_best_and_the_two_worst_cases_in_the_tables_colors(run):
    text = write_tables(run, kind="latex", out=run / "paper" / "tables.tex").read_text()
    assert r"\includegraphics[width=\linewidth]{tables-cases.png}" in text
    overlays = make_overlays(load_run(run))
    assert [(overlay.rank, overlay.id) for overlay in overlays] == [
        ("best", "test_02"),
        ("second best", "test_03"),
        ("second worst", "test_05"),
        ("worst", "test_04"),
    ]
    sheet = Image.open(run / "paper" / "tables-cases.png").convert("RGB")
    assert (
        sheet.width
        == max(
            sum(p.truth.width + p.prediction.width for p in overlay.panels) for overlay in overlays
        )
        + 5 * 12
    )
    assert sheet.height > sum(max(p.truth.height for p in overlay.panels) for overlay in overlays)
    colors = {color for _, color in sheet.getcolors(1 << 24)}
    shown = {item.color for overlay in overlays for item in overlay.classes}
    assert shown <= colors
    assert len(shown) > 5


def test_without_the_scans_there_is_no_figure(run):
    shutil.rmtree(run / "cohort" / "images")
    text = write_tables(run, kind="md").read_text()
    assert "cases.png" not in text
    assert "no picture of test\\_02" in text
    assert not (run / "report-cases.png").exists()
