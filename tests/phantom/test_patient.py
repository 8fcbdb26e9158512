"""Patients as they are drawn."""

from __future__ import annotations

import numpy as np

from nnstudent.phantom import make_case
from nnstudent.phantom.patient import draw_patient
from tests.phantom.conftest import IDS


def test_some_patients_have_no_gallbladder():
    drawn = {seed: draw_patient(np.random.default_rng(seed)).gallbladder for seed in range(60)}
    assert 2 <= sum(not has for has in drawn.values()) <= 15
    without = make_case(next(seed for seed, has in drawn.items() if not has), preset="tiny")
    assert not np.any(without.organs.array == IDS["gallbladder"])
