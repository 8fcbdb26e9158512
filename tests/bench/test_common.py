"""What several benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.common import OutOfTime, resumable, tumor_or_none, within
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
