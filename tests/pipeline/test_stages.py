"""The order of stages, apart from what they do: each here copies files and counts how often it was
called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.errors import Failure, InputError
from nnstudent.pipeline.stages import Outcome, Stage, remaining, run_stages


class Path3:
    """Three stages, a → b → c, and a fourth that needs only a."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "run.json"
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.failures: list[Failure] = []
        (folder / "source.txt").write_text("one")

    def work(self, name: str, reads: str) -> Outcome:
        self.calls.append(name)
        if name in self.broken:
            raise InputError(f"{name} cannot")
        (self.folder / f"{name}.txt").write_text((self.folder / f"{reads}.txt").read_text() + name)
        return Outcome(f"{name} made", failures=self.failures if name == "b" else ())

    def stages(self, *, settings=None) -> list[Stage]:
        def stage(name: str, reads: str, needs: tuple[str, ...]) -> Stage:
            source, made = self.folder / f"{reads}.txt", self.folder / f"{name}.txt"
            return Stage(
                name,
                lambda: self.work(name, reads),
                needs,
                lambda: [source],
                [made],
                settings if name == "b" else None,
            )

        return [
            stage("a", "source", ()),
            stage("b", "a", ("a",)),
            stage("c", "b", ("b",)),
            stage("d", "a", ("a",)),
        ]

    def run(self, **more):
        self.calls.clear()
        rows = run_stages(self.stages(**more), self.record, about={"preset": "x"})
        return {row.name: row for row in rows}


@pytest.fixture
def path(tmp_path: Path) -> Path3:
    return Path3(tmp_path)


def test_a_second_call_does_nothing_and_keeps_the_figures(path: Path3):
    first = path.run()
    assert path.calls == ["a", "b", "c", "d"]
    assert {row.state for row in first.values()} == {"done"}
    assert all(row.peak_rss_mb > 1 for row in first.values())
    second = path.run()
    assert path.calls == []
    assert all(row.fresh for row in second.values())
    assert [row.seconds for row in second.values()] == [row.seconds for row in first.values()]


def test_a_changed_source_setting_or_output_is_done_again_and_what_follows_from_it(path: Path3):
    path.run()
    path.run(settings={"more": 1})
    assert path.calls == ["b"]  # it wrote the same bytes, so that c has nothing new to read
    (path.folder / "source.txt").write_text("two")
    path.run(settings={"more": 1})
    assert path.calls == ["a", "b", "c", "d"]
    (path.folder / "c.txt").unlink()
    path.run(settings={"more": 1})
    assert path.calls == ["c"]


def test_a_failed_stage_is_named_those_that_need_it_are_skipped_and_the_others_run(path: Path3):
    path.broken.add("b")
    rows = path.run()
    assert path.calls == ["a", "b", "d"]
    assert (rows["b"].state, rows["b"].detail) == ("failed", "b cannot")
    assert (rows["c"].state, rows["c"].detail) == ("skipped", "needs b, which is not done")
    assert rows["d"].state == "done"
    path.broken.clear()
    rows = path.run()
    assert path.calls == ["b", "c"]
    assert {row.state for row in rows.values()} == {"done"}


def test_a_fault_of_the_program_fails_its_stage_only(path: Path3, monkeypatch: pytest.MonkeyPatch):
    stages = path.stages()
    stages[1] = Stage("b", lambda: 1 // 0, ("a",), stages[1].reads, stages[1].writes)
    rows = {row.name: row for row in run_stages(stages, path.record, about={})}
    assert rows["b"].state == "failed"
    assert "ZeroDivisionError" in rows["b"].detail
    assert rows["d"].state == "done"


def test_failed_cases_are_tried_again(path: Path3):
    path.failures = [Failure("case_1", "is empty")]
    rows = path.run()
    assert (rows["b"].state, rows["b"].failures) == ("done", (Failure("case_1", "is empty"),))
    assert rows["c"].state == "done"
    path.run()
    assert path.calls == ["b"]


def test_a_stage_that_summarizes_runs_whenever_another_has(path: Path3):
    told = []

    def run():
        def tell() -> Outcome:
            told.append(1)
            return Outcome("told")

        stages = [*path.stages(), Stage("report", tell, (), lambda: [], [], summarizes=True)]
        return run_stages(stages, path.record, about={})

    run()
    run()
    assert len(told) == 1
    path.broken.add("c")
    (path.folder / "c.txt").unlink()
    assert run()[-1].state == "done"
    assert len(told) == 2


def test_what_reads_from_a_stage_that_is_left_is_left_though_it_could_do_without(path: Path3):
    def stages():
        made = path.folder / "e.txt"
        reads = path.folder / "d.txt"
        return [
            *path.stages(),
            Stage("e", lambda: Outcome(str(made.write_text("e"))), ("a",), lambda: [reads], [made]),
        ]

    run_stages(stages(), path.record, about={})
    (path.folder / "d.txt").unlink()
    assert [row.name for row in remaining(stages(), path.record) if row.state == "left"] == [
        "d",
        "e",
    ]


def test_what_is_left(path: Path3):
    def states():
        return [row.state for row in remaining(path.stages(), path.record)]

    assert states() == ["left"] * 4
    path.run()
    assert states() == ["done"] * 4
    assert path.calls == ["a", "b", "c", "d"]
    (path.folder / "b.txt").write_text("tampered")
    assert states() == ["done", "left", "left", "done"]


def test_the_record_is_for_people_and_programs(path: Path3):
    path.run()
    data = json.loads(path.record.read_text())
    assert data["preset"] == "x"
    assert [row["name"] for row in data["stages"]] == ["a", "b", "c", "d"]
    assert {"name", "state", "seconds", "peak_rss_mb", "detail", "failures"} <= set(
        data["stages"][0]
    )


def test_a_stopped_run_has_recorded_what_it_finished(path: Path3):
    stages = path.stages()

    def stop() -> Outcome:
        raise KeyboardInterrupt

    stages[2] = Stage("c", stop, ("b",), stages[2].reads, stages[2].writes)
    with pytest.raises(KeyboardInterrupt):
        run_stages(stages, path.record, about={})
    path.run()
    assert path.calls == ["c", "d"]
