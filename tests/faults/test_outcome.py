"""The campaign itself: that it would see a fault."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.faults import pool
from tests.faults.damage import harm_json, harm_text, nested, to_json
from tests.faults.kinds import KINDS, tasks
from tests.faults.outcome import Attack, Result, judge, listing
from tests.faults.page import EARLIER, write_page
from tests.faults.pool import Task, run_tasks

SOUND = Result(2, "", "nnstudent index: x.csv: no case in it; expected one a line\n")


def told(folder: Path, result: Result, **more: object) -> str:
    attack = Attack(["index"], folder, folder / "out", ("x.csv",), **more)  # type: ignore[arg-type]
    return judge(attack, result, before=set())[0]


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (SOUND, "refused"),
        (Result(0, "done", ""), "ok"),
        (Result(None, "", "ValueError"), "internal error"),
        (
            Result(2, "", "nnstudent index: KeyError: x.csv; run it again with --debug for more\n"),
            "internal error",
        ),
        (Result(1, "", "Traceback (most recent call last):\n"), "internal error"),
        (Result(139, "", ""), "crash"),
        (Result(2, "", ""), "input not named"),
        (Result(2, "", "nnstudent index: no case in it\n"), "input not named"),
        (Result(2, "", "KeyError: x.csv\n"), "input not named"),
    ],
)
def test_what_was_said_is_judged(tmp_path, result, outcome):
    assert told(tmp_path, result) == outcome


@pytest.mark.parametrize(
    ("name", "content", "code", "outcome"),
    [
        ("out/.nnstudent-abc-1-2.x", b"half", 1, "half-written"),
        ("elsewhere", b"x", 1, "half-written"),
        ("out/x.json", b"{", 0, "half-written"),
        ("out/x.nii.gz", gzip.compress(b"x" * 999, mtime=0)[:-9], 0, "half-written"),
        ("out/x.nii.gz", gzip.compress(b"x" * 999, mtime=0), 0, "ok"),
        ("out/x.nii.gz", gzip.compress(b"x" * 999, mtime=0), 2, "half-written"),
        ("canary", b"", 0, "code executed"),
    ],
)
def test_what_was_left_is_judged(tmp_path, name, content, code, outcome):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    result = Result(code, "", SOUND.err)
    canary = tmp_path / "canary"
    assert told(tmp_path, result, canary=canary) == outcome


def test_a_loss_that_nobody_told_is_one(tmp_path):
    assert told(tmp_path, Result(0, "", ""), lost=lambda result: "a slice") == "silent loss"


def _made(chance: Random, folder: Path) -> Attack:
    if folder.name.endswith("-1"):
        folder.with_name("hangs").touch()
        time.sleep(600)
    if folder.name.endswith("-2"):
        os._exit(7)
    return Attack(
        ["index", str(folder / "in.csv"), "-o", str(folder / "out")], folder, folder / "out"
    )


@pytest.mark.skipif(os.name != "posix", reason="workers are forked")
def test_one_that_hangs_or_dies_is_counted_and_the_rest_goes_on(tmp_path, monkeypatch):
    is_late = pool._Worker.is_late

    def is_late_once_it_hangs(worker: pool._Worker) -> bool:
        hangs = worker._task.number == 1 and (tmp_path / "w0" / "hangs").exists()
        monkeypatch.setattr(pool, "SECONDS", 0.0 if hangs else 300.0)
        return is_late(worker)

    monkeypatch.setattr(pool._Worker, "is_late", is_late_once_it_hangs)
    todo = [Task("some", number) for number in range(4)]
    done = run_tasks(todo, {"some": _made}, seed=1, scratch=tmp_path, workers=1)
    assert [verdict.outcome for verdict in done] == ["refused", "hang", "crash", "refused"]


def test_a_seed_decides_everything():
    for harmed in (harm_json, harm_text):
        text = '{"a": [1, 2.5, "x"],\n "b": null}'
        assert [harmed(text, Random(k)) for k in range(50)] == [
            harmed(text, Random(k)) for k in range(50)
        ]


def test_depth_can_be_written():
    text = to_json(nested(50_000))
    assert text.count("[") == text.count("]") == 50_001


def test_every_kind_is_tried_once_and_as_a_process_too():
    chosen = list(tasks(10_000))
    assert len(set(chosen)) == 10_000
    assert {task.kind for task in chosen} == set(KINDS)
    assert 80 <= sum(task.process for task in chosen) <= 120


@pytest.mark.parametrize("count", [0, 1, len(KINDS), len(KINDS) + 1, 150, 3001])
def test_few_cases_are_of_every_kind_too(count):
    chosen = list(tasks(count))
    assert len(chosen) == len(set(chosen)) == count
    assert len({task.kind for task in chosen}) == min(count, len(KINDS))


def test_names_are_relative(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    assert listing(tmp_path) == {"a", "a/b"}


def test_the_page_counts_this_campaign_and_keeps_the_totals_of_earlier_ones(tmp_path):
    same = {"seed": 5, "process": False, "detail": "", "commit": "abc", "date": "2026-01-02"}
    rows = [
        same | {"kind": kind, "number": number, "outcome": outcome}
        for number, (kind, outcome) in enumerate(
            [("NRRD", "ok"), ("NRRD", "refused"), ("NRRD", "hang"), ("kills: run", "ok")]
        )
    ]
    write_page(tmp_path / "page.md", rows)
    text = (tmp_path / "page.md").read_text()
    assert "4 attempts, 1 fault. nnStudent" in text
    assert "| NRRD | 3 | 1 | 1 | 1 |" in text
    assert "| run | 1 | 1 | 0 | 0 |" in text
    assert "- hang: NRRD, 1\n" in text
    for line in EARLIER.read_text().splitlines():
        assert f"| {json.loads(line)['date']} |" in text.partition("## Earlier campaigns")[2]
