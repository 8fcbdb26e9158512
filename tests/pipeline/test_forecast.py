from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.pipeline.forecast import (
    Forecast,
    Part,
    disk_bytes,
    forward_operations,
    labeling_work,
    network_shape,
    parameters,
    room_used,
    training_work,
)
from nnstudent.pipeline.preset import load_preset
from nnstudent.volume import Grid

PAPER = load_preset("paper")
GRID = Grid((100, 512, 512), np.diag([0.8, 0.8, 2.5, 1.0]))


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_paper_networks_are_counted_roughly() -> None:
    """The paper's student has 5.6 million parameters and 140 GFLOP a window, its teacher 31
    million."""
    student, teacher = PAPER.student, PAPER.teachers
    assert parameters(student.network) == pytest.approx(5.6e6, rel=0.2)
    assert parameters(teacher.network) == pytest.approx(31e6, rel=0.2)
    operations = forward_operations(student.network, student.data.patch)
    assert operations == pytest.approx(140e9, rel=0.25)


def test_a_training_of_twice_the_epochs_is_twice_the_work() -> None:
    recipe = PAPER.student
    longer = replace(recipe, training=replace(recipe.training, epochs=2 * recipe.training.epochs))
    assert training_work(longer) == 2 * training_work(recipe)


def test_a_scan_on_the_networks_grid() -> None:
    z, y, x = network_shape(GRID, PAPER.student)
    assert (z, y, x) == pytest.approx((62.5, 341.3, 341.3), abs=0.1)
    assert labeling_work(PAPER.student, [GRID, GRID]) == 2 * labeling_work(PAPER.student, [GRID])


def test_room_grows_with_the_cases() -> None:
    few = disk_bytes(PAPER, [GRID] * 10, baseline=False, rounds=1)
    many = disk_bytes(PAPER, [GRID] * 1010, baseline=False, rounds=1)
    voxels = np.prod(network_shape(GRID, PAPER.teachers))
    assert many - few > 1000 * voxels
    assert few > 5 * 4 * parameters(PAPER.teachers.network), "checkpoints stay"


def test_the_rest_of_a_run_at_the_speed_of_what_has_run() -> None:
    clock = Clock()
    forecast = Forecast(
        [Part("teach", "organs", 100.0), Part("study", "student", 300.0)], clock=clock
    )
    forecast.begin("teach")
    assert forecast.note("organs", 0, 50) is None
    assert forecast.note("prepare", 3, 4) is None, "of no known size"
    clock.now = 5.0
    assert forecast.note("organs", 10, 50) is None, "too early to say"
    clock.now = 20.0
    assert forecast.note("organs", 25, 50) == pytest.approx(20 + 120)
    forecast.end("teach")
    forecast.begin("study")
    assert forecast.note("student", 0, 10) == pytest.approx(120)
    clock.now += 60
    assert forecast.note("student", 8, 10) == pytest.approx(15), "the student's own speed"


def test_what_an_earlier_call_did_says_nothing_of_the_speed() -> None:
    clock = Clock()
    forecast = Forecast([Part("study", "student", 100.0)], clock=clock)
    forecast.begin("study")
    forecast.note("student", 900, 1000)
    clock.now = 100.0
    assert forecast.note("student", 910, 1000) == pytest.approx(900)


def test_a_part_of_another_stage_is_not_taken_for_it() -> None:
    forecast = Forecast([Part("study", "student", 1.0), Part("baseline", "student", 1.0)])
    forecast.begin("baseline")
    forecast.note("student", 1, 2)
    forecast.end("study")
    forecast.begin("nothing")
    assert forecast.note("student", 1, 2) is None


def test_progress_shows_the_time_left_beside_its_own_note() -> None:
    clock, shown = Clock(), []
    forecast = Forecast([Part("study", "student", 100.0)], clock=clock)
    forecast.begin("study")
    show = forecast.shown_by(lambda what, done, total, *, note="": shown.append(note))
    show("student", 0, 100, note="loss 0.50")
    clock.now = 36.0
    show("student", 1, 100, note="loss 0.40")
    assert shown == ["loss 0.50", "loss 0.40, whole run: about 59 min left"]


def test_room_used(tmp_path: Path) -> None:
    assert room_used(tmp_path / "none") == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    assert room_used(tmp_path) == 5
