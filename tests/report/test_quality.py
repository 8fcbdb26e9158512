"""The section on the expected Dice says what `export` measured on the scans of the calibration."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.evaluation.calibrate import Calibrated
from nnstudent.io.atomic import write_json
from nnstudent.quality.fit import calibrate
from nnstudent.quality.judged import judged
from nnstudent.report.html import write_report
from nnstudent.report.quality import QUALITY, QualityFacts, quality_section, read_quality
from nnstudent.taxonomy import flare23
from tests.quality.cases import ORGANS, known_cases


@pytest.fixture
def facts(tmp_path: Path) -> QualityFacts:
    cases = known_cases(3, 60)
    model = calibrate(cases)
    organs = judged(model, {f"case_{k}": case for k, case in enumerate(cases)})
    done = Calibrated(tmp_path, model, len(cases), (), tuple(organs))
    write_json(tmp_path / QUALITY, done.to_dict())
    return read_quality(tmp_path / QUALITY)


def test_figures_are_those_of_the_organs(facts: QualityFacts) -> None:
    section = quality_section(facts, flare23())
    assert section is not None
    assert (section.scans, section.level) == (60, "90%")
    assert {row.title for row in section.rows} == set(ORGANS)
    assert sum(row.scans for row in section.rows) == len(facts.organs) == 4 * 60
    inside = sum(item.low <= item.true <= item.high for item in facts.organs) / len(facts.organs)
    assert section.inside == f"{inside:.0%}"
    assert 0.8 < inside < 1
    liver = [item for item in facts.organs if item.organ == "liver"]
    (row,) = (row for row in section.rows if row.title == "liver")
    assert row.true == f"{sum(item.true for item in liver) / len(liver):.2f}"
    assert row.flagged == sum(item.verdict != "pass" for item in liver)
    least = min(facts.organs, key=lambda item: item.expected)
    assert section.worst[0]["scan"] == least.scan
    assert section.worst[0]["expected"].startswith(f"{least.expected:.2f} (")


def test_it_is_in_the_report_if_the_run_has_it(run: Path, facts: QualityFacts, tmp_path) -> None:
    assert 'id="quality"' not in write_report(run).read_text("utf-8")
    (run / QUALITY).write_bytes((tmp_path / QUALITY).read_bytes())
    text = write_report(run).read_text("utf-8")
    assert '<a href="#quality">' in text
    assert "calibrated on 60 test cases" in text
    worst = min(facts.organs, key=lambda item: item.expected)
    assert f"<td>{worst.expected:.2f} ({worst.low:.2f} to {worst.high:.2f})</td>" in text


def test_without_organs_there_is_no_section_and_a_broken_file_is_named(tmp_path: Path) -> None:
    assert quality_section(None, flare23()) is None
    assert quality_section(QualityFacts(0, 0.9, ()), flare23()) is None
    write_json(tmp_path / QUALITY, {"scans": 3})
    with pytest.raises(InputError, match=QUALITY):
        read_quality(tmp_path / QUALITY)
