"""The benchmark of trainers at the tiniest scale; timings are not checked."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import replace
from io import StringIO
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


def tiny() -> Preset:
    small = tiny_recipe()
    network = replace(
        small.network, features=(8, 16, 16), strides=((1, 1, 1), (2, 2, 2), (2, 2, 2))
    )  # of two nnU-Net weighs no loss
    return Preset(
        "tiny",
        teachers=small,
        student=replace(small, network=network, data=replace(small.data, batch=1)),
    )


@pytest.mark.slow
def test_each_trainer_answers_for_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours and one of the two of nnU-Net: its trainer runs in fp32 as under autocast."""
    bench.setup(tmp_path, tiny(), cases=1, steps=5)
    capsys.readouterr()
    # In this process, so the loaders are no processes, and what a trainer sets is set back after.
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet

    context = nnunet.dummy_context
    monkeypatch.setattr(nnunet, "get_allowed_n_proc_DA", lambda: 0)
    monkeypatch.setattr(nnunet, "dummy_context", context)
    for name in (bench.OURS, bench.HALF):
        monkeypatch.setattr(sys, "stdin", StringIO("1\n2\n"))
        bench.work(name, tmp_path)
        rows = [
            json.loads(line) for line in capsys.readouterr().out.splitlines() if "losses" in line
        ]
        assert [len(row["losses"]) for row in rows] == [1, 2]
        assert all(math.isfinite(loss) for row in rows for loss in row["losses"])
        assert all(row["seconds"] > 0 for row in rows)
        assert (nnunet.dummy_context is context) == (name == bench.OURS), "autocast"


# Answers as a trainer does; a loss says which step it is of.
ANSWERS = """
import json, sys
done = 0
for line in sys.stdin:
    losses = [float(done := done + 1) for _ in range(int(line))]
    print(json.dumps({"seconds": 0.5, "losses": losses, "words": sys.argv[1:]}), flush=True)
"""


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="processes are stopped and go on by signals that Windows does not have",
)
def test_trainers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With processes that only answer; ``tests/system`` has the trainers' own."""
    monkeypatch.setattr(
        bench, "in_own_process", lambda _: ([sys.executable, "-c", ANSWERS], dict(os.environ))
    )
    turns = bench.measure(tmp_path, blocks=2, steps=2, warm=1)
    assert list(turns) == list(bench.TRAINERS)
    for name, rows in turns.items():
        assert [row["losses"] for row in rows] == [[2, 3], [4, 5]]  # the first step was warming up
        assert rows[0]["words"] == ["--worker", name, str(tmp_path)]
    lines = bench.lines(bench.summary(turns, steps=2))
    assert len(lines) == 3
    assert "target 1.2" in lines[2]


@pytest.mark.skipif(sys.platform == "win32", reason="as above")
def test_a_trainer_that_stops_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = ANSWERS + "    if done > 2 and sys.argv[2] == 'nnU-Net': sys.exit(3)\n"
    monkeypatch.setattr(
        bench, "in_own_process", lambda _: ([sys.executable, "-c", stops], dict(os.environ))
    )
    started, start = [], bench.start
    monkeypatch.setattr(bench, "start", lambda *words: started.append(start(*words)) or started[-1])
    with pytest.raises(SystemExit, match="exit code 3"):
        bench.measure(tmp_path, blocks=3, steps=2, warm=1)
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)


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
