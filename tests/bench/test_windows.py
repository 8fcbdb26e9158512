"""The windows that planners run, with the truth in place of a network."""

from __future__ import annotations

import numpy as np

from bench.windows import run
from nnstudent.inference.windows.guided import guided
from nnstudent.inference.windows.sliding import dense


def test_the_truth_in_place_of_a_network_keeps_the_foreground_and_saves_windows() -> None:
    labels = np.zeros((48, 96, 96), np.float32)
    labels[16:32, 40:56, 40:56] = 1
    values = np.full(labels.shape, -1, np.float32)  # air
    values[:, 24:72, 24:72] = 0

    every, seen = run(values, labels, (16, 32, 32), dense)
    planner = guided(spacing_mm=(4.0, 2.5, 2.5), air=-0.5)
    fewer, still_seen = run(values, labels, (16, 32, 32), planner)

    assert seen == still_seen == 1
    assert 0 < fewer < every
