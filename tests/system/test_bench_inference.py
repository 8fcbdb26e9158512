"""The benchmark of inference beside stock nnU-Net, which starts processes of its own, each with all
of its imports."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.inference as bench
from tests.bench.contender import floor_of_a_tiny_network, make_contender


def test_beside_stock_nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contender = make_contender(tmp_path)
    floor_of_a_tiny_network(monkeypatch)
    # By itself it starts six processes.
    monkeypatch.setattr(bench, "STOCK", (*bench.STOCK, "-npp", "1", "-nps", "1"))
    (row,) = bench.bench(
        [contender], [20], repeats=1, stock=True, work=tmp_path, plane=40, least=0
    )["rows"]
    assert row["stock_seconds"] > 0
    assert row["ratio"] == pytest.approx(row["stock_seconds"] / row["seconds"])
    assert row["agreement_dense_fp32"] >= 0.98
