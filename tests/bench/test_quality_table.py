"""The figures of the benchmark of the expected Dice, on rows whose answer is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bench.quality import in_turn
from bench.quality_shifts import SHIFTS, shifted
from bench.quality_table import figures, shipped, write_table
from nnstudent.quality.judged import Judged
from nnstudent.volume import Grid, Volume
from tests.quality.cases import known_cases


def test_figures_of_a_few_organs() -> None:
    rows = [
        (0.9, 0.8, 0.95, "pass", 0.92),
        (0.8, 0.7, 0.9, "pass", 0.6),
        (0.3, 0, 0.6, "fail", 0.2),
    ]
    items = [
        Judged("a", "liver", expected, low, high, verdict, true, expected)
        for expected, low, high, verdict, true in rows
    ]
    found = figures(items)
    assert found["coverage"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["below_low"] == pytest.approx(1 / 3, abs=1e-3)
    assert (found["spearman"], found["auroc"]) == (1, 1)
    assert (found["poor"], found["poor_flagged"], found["poor_among_pass"]) == (1, 1, 0)
    assert figures([]) == {"organs": 0}


def test_sets_come_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NNSTUDENT_DATA", raising=False)
    first = [scan.set.partition(":")[0] for scan in in_turn(20, 10, 10)][:8]
    assert {kind: first.count(kind) for kind in first} == {
        "unseen": 4,
        "calibration": 2,
        "shift": 2,
    }
    assert len({(scan.set, scan.id) for scan in in_turn(20, 10, 10)}) == 40


def test_from_rows_to_a_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(kind: str, seed: int, count: int) -> list[dict[str, Any]]:
        return [
            {
                "set": kind,
                "id": f"{seed}{k}",
                "features": case.features.to_dict(),
                "dice": case.dice,
            }
            for k, case in enumerate(known_cases(seed, count))
        ]

    every = [
        *rows("calibration", 1, 20),
        *rows("unseen", 2, 10),
        *rows("shift:noise", 3, 3),
        *rows("shift:cut", 4, 3),
        *rows("ct", 5, 4),
    ]
    write_table(every, None)
    found = json.loads(capsys.readouterr().out)
    assert found["scans"]["unseen"] == 10
    assert found["cross"]["organs"] == 30 * 4
    assert found["shift:cut"]["organs"] == 12
    assert len(found["ct"]["scans"]) == 4
    model = shipped(every)
    assert model.rests_on["scans"] == 30
    assert model.rests_on["adapted_to"]["scans"] == 4


@pytest.mark.parametrize("name", SHIFTS)
def test_shifted_scans_keep_labels_in_place(name: str) -> None:
    labels = np.zeros((24, 20, 20), np.uint8)
    for id in (1, 2, 3, 5, 6, 9, 11, 13):
        labels[:, id, 3:15] = id
    values = np.where(labels > 0, 80.0, -90.0)
    affine = np.diag([-4.0, -4.0, 5.0, 1.0])
    image = Volume(values.astype(np.int16), Grid(labels.shape, affine))
    shifted_image, truth = shifted(image, Volume(labels, image.grid), name, seed=1)
    assert shifted_image.grid.matches(truth.grid)
    assert set(np.unique(truth.array)) <= set(np.unique(labels))
    lost = len(np.unique(labels)) - len(np.unique(truth.array))
    assert lost == (1 if name == "missing" else 0)
    assert not np.array_equal(shifted_image.array, image.array)
