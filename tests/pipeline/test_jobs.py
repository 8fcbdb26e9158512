"""Jobs: pieces in any order, merged when all have ended; what died is named and repeated alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.pipeline import jobs
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.jobs import (
    after_jobs,
    describe_table,
    find_job,
    forget_left,
    job_table,
    run_job,
)
from nnstudent.pipeline.preset import load_preset
from nnstudent.pipeline.stages import Outcome, Piece, Stage, followed, read_records, remaining
from nnstudent.pipeline.steps import stages as real_stages

ABOUT = {"preset": "x"}


class Toy:
    """``cut`` in two pieces, ``next 2`` that needs it, ``other`` and a report."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.broken: dict[str, Exception] = {}
        self.calls: list[str] = []
        (run.out / "source.txt").write_text("one")

    def work(self, name: str, reads: str) -> Outcome:
        self.calls.append(name)
        if name in self.broken:
            raise self.broken[name]
        text = (self.run.out / f"{reads}.txt").read_text()
        (self.run.out / f"{name}.txt").write_text(text + name)
        return Outcome(name, facts={"letters": len(name)})

    def merge(self, pieces) -> Outcome:
        self.calls.append("merge")
        self.run.notice("merged")
        (self.run.out / "cut.txt").write_text("cut")
        return Outcome(f"{sum(piece.facts['letters'] for piece in pieces)} letters")

    def stages(self, _run: RunFolder) -> list[Stage]:
        def stage(name: str, reads: str, needs: tuple[str, ...], **more) -> Stage:
            made, source = (self.run.out / f"{item}.txt" for item in (name, reads))
            work = lambda: self.work(name, reads)  # noqa: E731
            return Stage(name, work, needs, lambda: [source], [made], **more)

        pieces = [Piece(name, lambda name=name: self.work(name, "source")) for name in ("p1", "p2")]
        return [
            stage("cut", "source", (), pieces=pieces, merge=self.merge, load="train"),
            stage("next 2", "cut", ("cut",)),
            stage("other", "source", ()),
            stage("report", "source", (), summarizes=True),
        ]

    def job(self, name: str):
        self.run.notices.clear()
        return run_job(self.run, name, about=ABOUT)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    run = RunFolder(tmp_path / "source.txt", tmp_path, load_preset("demo"))
    toy = Toy(run)
    monkeypatch.setattr(jobs, "stages", toy.stages)
    return toy


def left(toy: Toy) -> list[str]:
    rows = remaining(toy.stages(toy.run), toy.run.out / "run.json")
    return [row.name for row in rows if row.state == "left"]


def test_pieces_in_any_order_and_then_their_stage(toy: Toy):
    with pytest.raises(
        InputError, match=r"next 2: needs cut, which has not ended; run .* --job cut"
    ):
        toy.job("next_2")
    assert toy.job("cut:p2").state == "done"
    with pytest.raises(InputError, match=r"cut: piece p1 has not ended; run: --job cut:p1"):
        toy.job("cut")
    toy.job("cut:p1")
    assert toy.job("cut").detail == "4 letters"
    toy.job("other")
    assert toy.job("next_2").state == "done"
    assert toy.calls == ["p2", "p1", "merge", "other", "next 2"]
    rows = json.loads((toy.run.out / "run.json").read_text())
    assert [row["name"] for row in rows["stages"]] == ["cut", "next 2", "other"]
    assert rows["preset"] == "x"
    assert left(toy) == ["report"]


def test_a_piece_made_from_something_else_is_refused(toy: Toy):
    toy.job("cut:p1")
    (toy.run.out / "source.txt").write_text("two")
    toy.job("cut:p2")
    with pytest.raises(InputError, match="cut: piece p1 has changed inputs since"):
        toy.job("cut")


def test_a_wrong_input_fails_the_stage_and_passes_over_what_needs_it(toy: Toy):
    toy.broken["p1"] = InputError("p1 cannot")
    assert toy.job("cut:p1").state == "failed"
    toy.job("cut:p2")
    assert (toy.job("cut").state, toy.job("next_2").state) == ("failed", "skipped")
    assert toy.job("other").state == "done"
    rows = read_records(toy.run.out / "run.json")
    assert rows["cut"].detail == "p1: p1 cannot"
    assert rows["next 2"].detail == "needs cut, which is not done"


def test_a_piece_that_dies_leaves_no_record_and_is_repeated_alone(toy: Toy):
    toy.job("cut:p1")
    toy.broken["p1"] = RuntimeError("out of memory")
    with pytest.raises(RuntimeError):
        toy.job("cut:p1")
    toy.job("cut:p2")
    with pytest.raises(InputError, match="piece p1 has not ended"):
        toy.job("cut")
    toy.broken.clear()
    toy.job("cut:p1")
    assert toy.job("cut").state == "done"
    assert toy.calls == ["p1", "p1", "p2", "p1", "merge"]


def test_after_the_jobs_what_left_no_record_has_failed_and_the_report_is_written(toy: Toy):
    planned = remaining(toy.stages(toy.run), toy.run.out / "run.json")
    toy.job("cut:p1")
    toy.job("other")
    rows = {row.name: row for row in after_jobs(toy.run, planned, code=1, about=ABOUT)}
    assert {name: row.state for name, row in rows.items()} == {
        "cut": "failed",
        "next 2": "skipped",
        "other": "done",
        "report": "done",
    }
    assert rows["cut"].detail.startswith("cut:p2 ended without a result (exit code 1 of snakemake)")
    assert rows["cut"].detail.endswith("jobs/cut/p2.log")


def test_what_a_second_call_keeps(toy: Toy):
    for job in ("cut:p1", "cut:p2", "cut", "next_2"):
        toy.job(job)
    (toy.run.out / "cut.txt").unlink()
    assert left(toy) == ["cut", "next 2", "other", "report"]
    forget_left(toy.run, left=left(toy))
    assert [path.stem for path in sorted((toy.run.out / "jobs").rglob("*.json"))] == ["p1", "p2"]
    (toy.run.out / "source.txt").write_text("two")
    forget_left(toy.run, left=left(toy))
    assert not list((toy.run.out / "jobs").rglob("*.json"))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("cut:p9", "--job cut:p9: no such piece of cut; it has p1, p2"),
        ("othr", "--job othr: no such stage; did you mean other"),
        ("zzz", "expected one of cut, next_2, other, report"),
        ("other:p1", "it has none"),
    ],
)
def test_a_job_that_there_is_not_is_refused(toy: Toy, job, message):
    with pytest.raises(InputError, match=message):
        find_job(toy.stages(toy.run), job)


def test_the_stages_of_a_run_follow_what_they_need_and_read(tmp_path: Path):
    run = RunFolder(tmp_path, tmp_path / "RUN", load_preset("paper"), round_count=2, jobs=3)
    stages = real_stages(run)
    after = {name: set(before) for name, before in followed(stages).items()}
    assert after["label"] == {"index", "teach"}
    assert after["label 2"] == {"index", "study", "label"}
    assert after["export"] == {"teach", "study 2"}
    assert after["evaluate"] == {"segment", "ensemble"}
    assert after["report"] == set(after) - {"report"}
    cut = {stage.name: [piece.name for piece in stage.pieces] for stage in stages if stage.pieces}
    organs = [f"organs-{fold}" for fold in range(5)]
    assert cut["teach"] == ["organs-prepare", *organs, "tumor-prepare", "tumor-0"]
    both = {"label", "label 2", "study", "study 2"}
    assert set(cut) == {"index", "teach", *both, "segment", "ensemble", "evaluate"}
    assert cut["study"] == cut["study 2"] == ["prepare", "train"]
    assert cut["label 2"] == ["1-of-3", "2-of-3", "3-of-3"]
    run.sizes = {"train": 40, "test": 2}  # no job is for nothing
    cut = {stage.name: len(stage.pieces) for stage in real_stages(run)}
    assert (cut["label"], cut["segment"]) == (3, 2)


def test_the_table_says_what_a_job_asks_for(tmp_path: Path):
    run = RunFolder(tmp_path, tmp_path / "RUN", load_preset("paper"), jobs=2)
    names = [stage.name for stage in real_stages(run)]
    table = {row["name"]: row for row in job_table(run, left=names[1:])}
    assert table["teach"]["after"] == []  # index is done
    needs = run.preset.cluster.train
    assert table["teach"]["resources"] == {
        "threads": needs.cores,
        "mem_mb": needs.memory_gb * 1000,
        "runtime": needs.hours * 60,
        "gpu": 1,
    }
    first = table["teach"]["first"]["organs-prepare"]
    assert "gpu" not in first
    assert first["threads"] == run.preset.cluster.light.cores
    assert table["teach"]["waits"]["organs-4"] == "organs-prepare"
    assert table["study"]["waits"] == {"train": "prepare"}
    assert "gpu" not in table["study"]["first"]["prepare"]
    assert table["study"]["resources"]["gpu"] == 1
    assert table["label"]["first"] == table["label"]["waits"] == {}
    run.device = "cpu"
    assert not any("gpu" in row["resources"] for row in job_table(run, left=names))
    lines = describe_table(job_table(run, left=names))
    assert any(line.startswith("label:2-of-2 ") and "after index, teach" in line for line in lines)
    assert any(
        line.startswith("teach:tumor-0 ") and line.endswith("after teach:tumor-prepare")
        for line in lines
    )
