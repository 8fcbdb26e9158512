"""All measurements of one scan: what the scores say, and what the labels look like."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnstudent.inference.labels.organs import organ_facts
from nnstudent.inference.quality.measure import case_features
from nnstudent.quality.features import CaseFeatures
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def measured() -> CaseFeatures:
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[2:6, 4:12, 4:12] = 1
    labels[6:10, 0:6, 4:10] = 3
    grid = Grid(labels.shape, np.diag([3.0, 3.0, 5.0, 1.0]))
    values = np.where(labels > 0, 80, -90) + np.random.default_rng(0).integers(
        -400, 400, labels.shape
    )
    image, volume = Volume(values.astype(np.int16), grid), Volume(labels, grid)
    facts = organ_facts(
        image, volume, taxonomy=flare23(), confidence={"liver": 0.9, "spleen": 0.8, "aorta": None}
    )
    evidence = {"liver": {"network_ml": 16.0, "soft_dice": 0.93}}
    return case_features(
        image, volume, taxonomy=flare23(), organs=facts, evidence=evidence, warnings=("small",)
    )


def test_every_organ_found_is_measured() -> None:
    case = measured()
    assert set(case.organs) == {"liver", "spleen"}
    assert case.absent == ("aorta",)
    liver, spleen = case.organs["liver"], case.organs["spleen"]
    assert liver.volume_ml == pytest.approx(256 * 0.045)
    assert (liver.soft_dice, liver.kept) == (0.93, pytest.approx(256 * 0.045 / 16))
    assert math.isnan(spleen.soft_dice)
    assert (liver.touches_border, spleen.touches_border) == (0, 1)
    assert liver.place_mm == pytest.approx((22.5, 22.5, 17.5))
    assert (case.slice_mm, case.warnings) == (5.0, 1)
    assert case.center_mm == pytest.approx((28.5, 28.5, 27.5))
    assert case.extent_mm == pytest.approx((28.5, 28.5, 27.5))


def test_measurements_survive_being_written() -> None:
    case = measured()
    read = CaseFeatures.from_dict(case.to_dict(), where="rows.jsonl")
    assert read.to_dict() == case.to_dict()
    assert math.isnan(read.organs["spleen"].soft_dice)
