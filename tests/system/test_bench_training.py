"""The benchmark of trainers beside nnU-Net's own, each a process that imports all of nnU-Net."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import bench.training as bench
from tests.bench.test_training import tiny


def test_trainers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and one of the two of nnU-Net: its trainer runs in fp32 as under autocast."""
    monkeypatch.setattr(bench, "TRAINERS", (bench.OURS, bench.HALF))
    bench.setup(tmp_path, tiny(), cases=1, steps=5)
    turns = bench.measure(tmp_path, blocks=2, steps=2, warm=1)
    assert list(turns) == [bench.OURS, bench.HALF]
    for rows in turns.values():
        assert [len(row["losses"]) for row in rows] == [2, 2]
        assert all(math.isfinite(loss) for row in rows for loss in row["losses"])
    lines = bench.lines(bench.summary(turns, steps=2))
    assert len(lines) == 2
    assert "target 1.2" in lines[1]
