"""What several benchmarks share."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bench.common import (
    ROOT,
    OutOfTime,
    add_row,
    cases_file,
    read_rows,
    resumable,
    tumor_or_none,
    within,
)
from nnstudent.errors import InputError
from nnstudent.progress import Progress


def test_time_is_up() -> None:
    seen: list[str] = []
    listen = within(0, lambda what, *_, **__: seen.append(what))
    with pytest.raises(OutOfTime):
        listen("work", 1, 2)
    assert seen == ["work"]
    within(None, lambda *_, **__: None)("work", 1, 2)


def test_an_interrupted_benchmark_ends_well_and_a_wrong_one_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def long(progress: Progress) -> None:
        progress("work", 1, 2)
        raise AssertionError("goes on after its time")

    def wrong(progress: Progress) -> None:
        raise InputError("no such preset")

    assert resumable("bench", tmp_path / "work", long, minutes=0) == 0
    assert "the same call resumes from here" in capsys.readouterr().out
    assert resumable("bench", tmp_path / "work", wrong, minutes=None) == 2
    assert "bench: no such preset" in capsys.readouterr().err


def test_an_empty_answer_to_no_tumor_is_no_tumor_found() -> None:
    known = {"organ_dsc": 0.5, "organ_nsd": 0.5}
    there, empty, wrong = (
        {**known, "tumor_dsc": value, "tumor_nsd": value} for value in (0.25, 1.0, 0.0)
    )
    assert tumor_or_none(there, True) == {**there, "tumor_false": None}
    assert tumor_or_none(empty, False) == {
        **known,
        "tumor_dsc": None,
        "tumor_nsd": None,
        "tumor_false": 0.0,
    }
    assert tumor_or_none(wrong, False) == {
        **known,
        "tumor_dsc": None,
        "tumor_nsd": None,
        "tumor_false": 1.0,
    }


def test_scores_by_case_lie_compressed_beside_the_rows(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    table = {f"case_{n}": {"organ_dsc": n / 7, "tumor_dsc": None} for n in range(50)}
    first, second = {"arm": "a", "cases": table}, {"arm": "b", "cases": table}
    for row in (first, {"arm": "without"}, second):
        add_row(rows, row)
    assert read_rows(rows) == [first, {"arm": "without"}, second]
    assert "case_1" not in rows.read_text()
    assert len(rows.read_text().splitlines()) == 5
    stored = cases_file(rows).read_bytes()
    assert len(gzip.decompress(stored).splitlines()) == 1  # both rows have the same scores
    add_row(rows, {"arm": "c", "cases": {"case_0": {"organ_dsc": 0.5}}})
    assert read_rows(rows)[0] == first


def test_scores_that_do_not_belong_to_the_rows_are_refused(tmp_path: Path) -> None:
    rows, other = tmp_path / "rows.json", tmp_path / "other.json"
    add_row(rows, {"arm": "a", "cases": {"case_0": {"organ_dsc": 0.5}}})
    add_row(other, {"arm": "a", "cases": {"case_0": {"organ_dsc": 0.6}}})
    cases_file(rows).write_bytes(cases_file(other).read_bytes())
    with pytest.raises(InputError, match=r"lacks the scores .* of a row of rows\.json"):
        read_rows(rows)
    cases_file(rows).unlink()
    with pytest.raises(InputError, match="lacks the scores"):
        read_rows(rows)
    for broken in (b"", b"no gzip", gzip.compress(b'{"hash"'), gzip.compress(b"[1]")):
        cases_file(rows).write_bytes(broken)
        with pytest.raises(InputError):
            read_rows(rows)


def test_no_row_of_the_results_has_scores_by_case_in_it() -> None:
    for path in (ROOT / "docs" / "results").glob("*.json"):
        plain = json.loads(path.read_text("utf-8"))
        if isinstance(plain, list):
            assert not any(isinstance(row.get("cases"), dict) for row in plain), path.name
            assert len(read_rows(path)) == len(plain)
