from __future__ import annotations

import json

import numpy as np

from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.segmentation import Segmentation, keep_organs
from nnstudent.quality.model import Quality
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def result() -> Segmentation:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1], labels[2] = 1, 3, 14
    return Segmentation(
        labels=Volume(labels, Grid(labels.shape, np.eye(4))),
        organs={
            "liver": OrganFacts(0.0301234, True, 0.98765432, Quality(0.91234, 0.84, 0.95, "pass")),
            "spleen": OrganFacts(0.03, False, None),
        },
        seconds={"network": 1.23456, "total": 2.0},
        windows={"planned": 4, "run": 3, "skipped": 1},
        warnings=("small field of view",),
        engine="openvino",
        precision="fp32",
        model="0123456789abcdef",
        predicted_peak_mb=812.345,
    )


def test_the_record_is_plain_data():
    record = result().record()
    assert json.loads(json.dumps(record)) == record
    assert record["organs"]["liver"] == {
        "volume_ml": 0.030,
        "touches_border": True,
        "confidence": 0.9877,
        "quality": {
            "expected_dice": 0.912,
            "dice_interval": [0.84, 0.95],
            "verdict": "pass",
            "reason": "",
        },
    }
    assert record["organs"]["spleen"]["quality"] is None
    assert record["organs"]["spleen"]["confidence"] is None
    assert record["seconds"] == {"network": 1.235, "total": 2.0}
    assert (record["predicted_peak_mb"], record["warnings"]) == (812.3, ["small field of view"])


def test_only_the_organs_that_are_kept_stay_in_labels_and_facts():
    kept = keep_organs(result(), ["spleen"], flare23())
    assert set(np.unique(kept.labels.array)) == {0, 3}
    assert list(kept.organs) == ["spleen"]
