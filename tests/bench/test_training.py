"""The benchmark of trainers at the tiniest scale; timings are not checked."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bench.training as bench
from nnstudent.pipeline.preset import Preset, load_preset
from tests.training.conftest import tiny_recipe


def test_the_recipe_is_nnunets_own_training_on_the_presets_grid() -> None:
    laptop = load_preset("laptop")
    recipe = bench.as_stock(laptop, steps=30)
    assert (recipe.network, recipe.data) == (laptop.student.network, laptop.student.data)
    training = recipe.training
    assert (training.optimizer, training.lr, training.momentum, training.schedule) == (
        "sgd",
        0.01,
        0.99,
        "poly",
    )
    assert (training.class_weights, training.partial, training.weight_decay) == (
        "equal",
        "background",
        3e-5,
    )
    assert training.epochs * training.iterations == 30
    assert training.in_plane  # 48 × 96 × 160: nnU-Net turns slices only
    assert {item.name: (item.low, item.high) for item in training.augment}["rotation"] == (
        -180,
        180,
    )


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform == "win32",
    reason="processes are stopped and go on by signals that Windows does not have",
)
def test_trainers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and one of the two of nnU-Net: its trainer runs in fp32 as under autocast."""
    monkeypatch.setattr(bench, "TRAINERS", (bench.OURS, bench.HALF))
    small = tiny_recipe()
    network = replace(
        small.network, features=(8, 16, 16), strides=((1, 1, 1), (2, 2, 2), (2, 2, 2))
    )  # of two nnU-Net weighs no loss
    preset = Preset(
        "tiny",
        teachers=small,
        student=replace(small, network=network, data=replace(small.data, batch=1)),
    )
    bench.setup(tmp_path, preset, cases=1, steps=5)
    turns = bench.measure(tmp_path, blocks=2, steps=2, warm=1)
    assert list(turns) == [bench.OURS, bench.HALF]
    for rows in turns.values():
        assert [len(row["losses"]) for row in rows] == [2, 2]
        assert all(math.isfinite(loss) for row in rows for loss in row["losses"])
    lines = bench.lines(bench.summary(turns, steps=2))
    assert len(lines) == 2
    assert "target 1.2" in lines[1]


def test_the_summary_is_of_blocks_and_of_the_second_half_of_the_losses() -> None:
    def rows(seconds: list[float], late: float) -> list[dict[str, object]]:
        return [
            {"seconds": value, "losses": [9.0, 9.0] if i < 2 else [late - 0.1, late + 0.1]}
            for i, value in enumerate(seconds)
        ]

    turns = {
        bench.OURS: rows([2.0, 1.0, 1.0, 1.0], 0.5),
        bench.STOCK: rows([3.0, 3.0, 3.0, 9.0], 0.6),
        bench.HALF: rows([2, 2, 2, 2], 0.5),
    }
    found = bench.summary(turns, steps=2)["trainers"]
    assert found[bench.OURS]["steps_per_second"] == 2.0
    assert found[bench.STOCK]["ours_as_fast"] == 3.0
    assert found[bench.STOCK]["loss_minus_ours"] == pytest.approx(0.1)
    assert found[bench.HALF]["loss"] == pytest.approx(0.5)
    lines = bench.lines({"trainers": found})
    assert len(lines) == 3
    assert "target 1.5" in lines[1]
    assert "target 1.2" in lines[2]
