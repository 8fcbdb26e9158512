"""What a calibration says of a scan, and that it survives being written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.quality.fit import calibrate
from nnstudent.quality.model import QualityModel
from tests.quality.cases import known_case, known_cases


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return calibrate(known_cases(0, 60))


def test_written_and_read_it_judges_the_same(model: QualityModel) -> None:
    text = json.dumps(model.to_dict())
    read = QualityModel.from_dict(json.loads(text), where="bundle.json: quality")
    case = known_cases(1, 1)[0].features
    assert read(case) == model(case)
    assert len(text) < 20_000


def test_a_calibration_of_other_measurements_is_refused(model: QualityModel) -> None:
    shorter, fewer, unknown = (model.to_dict() for _ in range(3))
    shorter["expected"]["shared"] = shorter["expected"]["shared"][:-1]
    fewer["norms"]["liver"]["mean"] = fewer["norms"]["liver"]["mean"][:-1]
    del unknown["norms"]["liver"]
    for data in (shorter, fewer, unknown):
        with pytest.raises(InputError, match=r"bundle.json: quality: .*calibrate the model again"):
            QualityModel.from_dict(data, where="bundle.json: quality")


def test_a_wrong_entry_is_named(model: QualityModel) -> None:
    with pytest.raises(InputError, match=r"quality.level = 'high'; expected a number"):
        QualityModel.from_dict(model.to_dict() | {"level": "high"}, where="quality")


def test_good_organs_pass_and_bad_ones_fail(model: QualityModel) -> None:
    case = known_cases(1, 1)[0].features
    for soft, verdict in ((0.98, "pass"), (0.3, "fail")):
        liver = replace(case.organs["liver"], soft_dice=soft, confidence=soft, entropy=1 - soft)
        judged = model(replace(case, organs={**case.organs, "liver": liver}))["liver"]
        assert judged.verdict == verdict, judged


def test_an_organ_unlike_the_calibration_does_not_pass(model: QualityModel) -> None:
    case = known_cases(1, 1)[0].features
    odd = replace(
        case.organs["liver"], soft_dice=0.98, confidence=0.99, entropy=0.02, mean_hu=900.0
    )
    judged = model(replace(case, organs={**case.organs, "liver": odd}))["liver"]
    assert judged.verdict != "pass"


def test_an_organ_in_view_that_was_not_found_is_to_be_looked_at(model: QualityModel) -> None:
    case = known_case(np.random.default_rng(2), absent=("gallbladder",)).features
    judged = model(case)["gallbladder"]
    assert judged.record() == {
        "expected_dice": None,
        "dice_interval": None,
        "verdict": "look",
        "reason": "not found, although its place is in view",
    }
    narrow = replace(case, extent_mm=(30.0, 30.0, 30.0))
    assert "gallbladder" not in model(narrow)


def test_without_organs_there_is_nothing_to_judge(model: QualityModel) -> None:
    case = known_case(np.random.default_rng(2), absent=("liver", "spleen", "aorta", "gallbladder"))
    assert model(case.features) == {}
