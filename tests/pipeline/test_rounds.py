"""Rounds of labeling, with models that are a threshold each: who teaches whom, where it lies, when
it stops, what is done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnstudent.cohort.cohort import read_cohort, write_cohort
from nnstudent.cohort.ledger import read_ledger
from nnstudent.errors import InputError
from nnstudent.pipeline.run import RunResult, run
from nnstudent.pipeline.stages import Outcome
from nnstudent.pseudo.label import label_cases
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.training.train import Trained
from tests.pseudo.conftest import Maker
from tests.pseudo.test_label import Threshold

TABLE = Taxonomy(
    "toy", (LabelClass(1, "liver"), LabelClass(2, "kidney"), LabelClass(3, "tumor", kind="lesion"))
)
ONE_ROUND = (
    "index, teach, label, select, study, export, segment, profile, ensemble, evaluate, report"
)


class World:
    """A cohort of one labeled and two other cases, and what the stages did."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        maker = Maker(folder / "source", TABLE)
        cases = (maker.case("full", TABLE.names), maker.case("a"), maker.case("b"))
        write_cohort(folder / "source", maker.cohort(*cases))
        self.source, self.out = folder / "source", folder / "RUN"
        self.limits = {1: 0, 2: 40, 3: 80, 4: 120}  # above which a voxel is liver, by round
        self.taught: list[tuple[int, list[str]]] = []
        self.studied: list[str] = []
        self.exported: list[str] = []
        self.seconds: list[str | None] = []
        self.int8: list[bool] = []
        self.int8_costs = False
        self.preset: str | Path = "demo"
        self.stop_at = ""
        for name in ("segment", "profile", "ensemble", "evaluate", "report"):
            monkeypatch.setattr(f"nnstudent.pipeline.steps.{name}.work", lambda _: Outcome("done"))
        teachers = self.out / "teachers" / "organs" / "plans.json"
        monkeypatch.setattr(
            "nnstudent.pipeline.steps.teach.work", lambda _: self._wrote(teachers, "teachers")
        )
        monkeypatch.setattr("nnstudent.pseudo.label.label", self.label)
        monkeypatch.setattr("nnstudent.training.study.study_result", self.study)
        monkeypatch.setattr("nnstudent.bundle.export.export", self.export)

    def _wrote(self, path: Path, text: str) -> Outcome:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return Outcome("done")

    def _short(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def label(self, cohort, out, *, teachers, settings, **_):
        round = settings.round
        self.taught.append((round, [self._short(path) for path in teachers]))
        assert (teachers[0] / "plans.json").is_file()
        limit = self.limits[round]
        models = [
            Threshold(TABLE, "liver", limit, limit, hash=f"m{limit}"),
            *(Threshold(TABLE, name, 190) for name in ("kidney", "tumor")),
        ]
        return label_cases(
            cohort.not_fully_annotated(TABLE.names),
            out,
            teachers=models,
            taxonomy=TABLE,
            settings=settings,
        )

    def study(self, fused, out, recipe, **_):
        if self._short(out) == self.stop_at:
            raise KeyboardInterrupt
        assert len(read_cohort(fused).cases) == 3
        self.studied.append(self._short(out))
        self._wrote(out / "plans.json", self._short(fused) + str(self.limits))
        return Trained(out, TABLE.names, (0,), (0,))

    def export(self, model, out, *, overlay, lesions_only, second, card, progress, int8=None):
        assert not lesions_only
        if int8 is not None and self.int8_costs:
            raise InputError("in int8 DSC falls by 0.1")
        self.int8.append(int8 is not None)
        self.exported.append(self._short(model))
        self.seconds.append(None if second is None else self._short(second))
        self._wrote(out / "card.md", json.dumps(card))

    def run(self, rounds: int = 1, **more) -> RunResult:
        for told in (self.taught, self.studied, self.exported, self.seconds, self.int8):
            told.clear()
        return run(self.source, self.out, preset=self.preset, rounds=rounds, **more)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def states(result: RunResult) -> dict[str, str]:
    return {row.name: row.state for row in result.stages}


def test_one_round_is_the_path_as_ever(world: World):
    result = world.run()
    assert ", ".join(states(result)) == ONE_ROUND
    assert set(states(result).values()) == {"done"}
    assert (world.taught, world.studied, world.exported) == (
        [(1, ["teachers/organs", "teachers/tumor"])],
        ["student"],
        ["student"],
    )
    assert not list(world.out.glob("round*"))


def test_the_student_is_the_next_rounds_teacher_and_what_follows_is_of_the_last(world: World):
    result = world.run(3)
    between = "label 2, select 2, study 2, label 3, select 3, study 3"
    assert ", ".join(states(result)) == ONE_ROUND.replace("study,", f"study, {between},")
    assert set(states(result).values()) == {"done"}
    assert [teachers for _, teachers in world.taught][1:] == [["student"], ["round2/student"]]
    assert world.studied == ["student", "round2/student", "round3/student"]
    assert world.exported == ["round3/student"]
    assert "in round 3 of labeling" in (world.out / "bundle" / "card.md").read_text()
    rows = {
        (row.case, row.cls): row
        for row in read_ledger(world.out / "round3" / "fused" / "ledger.jsonl")
    }
    assert (rows["a", "liver"].origin, rows["a", "liver"].round) == ("pseudo", 3)
    assert rows["a", "liver"].change == pytest.approx(0.22, abs=0.1)
    assert rows["full", "liver"].origin == "truth"
    told = {row.name: row.detail for row in result.stages}
    assert "% of the foreground changed" in told["label 2"]
    assert "changed" not in told["label"]
    assert result.student == world.out / "round3" / "student"
    assert json.loads((world.out / "run.json").read_text())["rounds"] == 3


def test_a_second_call_does_nothing_and_one_more_round_goes_on(world: World):
    world.run(2)
    again = world.run(2)
    assert (world.taught, world.studied, world.exported) == ([], [], [])
    assert all(row.fresh for row in again.stages)
    world.run(3)
    assert (world.taught, world.studied, world.exported) == (
        [(3, ["round2/student"])],
        ["round3/student"],
        ["round3/student"],
    )
    world.run(1)
    assert (world.studied, world.exported) == ([], ["student"])


def test_it_stops_when_nothing_changes(world: World):
    world.limits[3] = world.limits[2]
    result = world.run(4)
    assert [number for number, _ in world.taught] == [1, 2, 3]
    assert world.studied == ["student", "round2/student"]
    assert world.exported == ["round2/student"]
    assert result.student == world.out / "round2" / "student"
    skipped = [row for row in result.stages if row.state == "skipped"]
    assert [row.name for row in skipped] == [
        "select 3",
        "study 3",
        "label 4",
        "select 4",
        "study 4",
    ]
    assert {row.detail for row in skipped} == {"the labels hardly changed in round 3"}
    assert (
        "round 3 changed 0.0 % of the foreground, so no further student is trained"
        in result.notices
    )
    assert result.exit_code == 0
    world.run(4)
    assert (world.taught, world.studied, world.exported) == ([], [], [])
    assert "left" not in states(world.run(4, dry_run=True)).values()
    assert not (world.out / "round3" / "fused").exists()


def test_a_second_stage_is_of_the_last_round(world: World, tmp_path: Path):
    world.preset = tmp_path / "cascade.toml"
    world.preset.write_text(
        'like = "demo"\nsecond_classes = ["kidney"]\n[second]\nlike = "student"\n'
    )
    result = world.run(2)
    assert set(states(result).values()) == {"done"}
    assert list(states(result)).index("second") == list(states(result)).index("export") - 1
    assert world.studied == ["student", "round2/student", "second"]
    assert (world.out / "second" / "plans.json").read_text().startswith("round2/fused")
    assert (world.exported, world.seconds) == (["round2/student"], ["second"])


def test_a_second_stage_of_a_class_that_nobody_annotated_is_refused_before_the_teachers(
    world: World, tmp_path: Path
):
    world.preset = tmp_path / "cascade.toml"
    world.preset.write_text(
        'like = "demo"\nsecond_classes = ["kindey"]\n[second]\nlike = "student"\n'
    )
    result = world.run()
    assert states(result)["index"] == "failed"
    assert (
        "second_classes of the preset: kindey annotated in no training case"
        in result.stages[0].detail
    )
    assert world.taught == []


def test_a_killed_run_goes_on(world: World):
    world.stop_at = "round2/student"
    with pytest.raises(KeyboardInterrupt):
        world.run(2)
    world.stop_at = ""
    world.run(2)
    assert (world.taught, world.studied, world.exported) == (
        [],
        ["round2/student"],
        ["round2/student"],
    )


def test_a_round_that_fails_leaves_what_the_others_made(world: World):
    del world.limits[2]
    result = world.run(2)
    assert states(result)["label 2"] == "failed"
    assert states(result)["study"] == "done"
    assert {name for name, state in states(result).items() if state == "skipped"} >= {
        "select 2",
        "study 2",
        "export",
    }


def test_a_dry_run_tells_the_rounds(world: World):
    left = [row.name for row in world.run(2, dry_run=True).stages if row.state == "left"]
    assert left[:8] == [
        "index",
        "teach",
        "label",
        "select",
        "study",
        "label 2",
        "select 2",
        "study 2",
    ]
    assert not world.out.exists()
    world.run(1)
    left = [row.name for row in world.run(2, dry_run=True).stages if row.state == "left"]
    assert left[:4] == ["label 2", "select 2", "study 2", "export"]


def test_no_round_at_all_is_refused(world: World):
    with pytest.raises(InputError, match="0 rounds; expected at least 1"):
        world.run(0)


def test_int8_is_exported_where_the_preset_asks_and_left_out_with_a_notice_where_it_costs(
    world: World, tmp_path: Path
):
    result = world.run()
    assert (world.int8, [line for line in result.notices if "int8" in line]) == ([False], [])
    world.preset = tmp_path / "quick.toml"
    world.preset.write_text('like = "demo"\nint8 = true\n')
    result = world.run()
    assert (world.studied, world.int8, [line for line in result.notices if "int8" in line]) == (
        [],
        [True],
        [],
    )
    shutil.rmtree(world.out / "bundle")
    world.int8_costs = True
    result = world.run()
    assert world.int8 == [False]
    assert "the bundle has no int8: in int8 DSC falls by 0.1" in result.notices
