"""Measurements as plain data."""

from __future__ import annotations

import json

import pytest

from nnstudent.errors import InputError
from nnstudent.quality.features import CaseFeatures, OrganFeatures


def test_what_could_not_be_measured_is_null_and_comes_back() -> None:
    case = CaseFeatures({"liver": OrganFeatures(1500.123456789, soft_dice=0.9)}, ("spleen",))
    plain = json.loads(json.dumps(case.to_dict(), allow_nan=False))
    assert plain["organs"]["liver"]["volume_ml"] == 1500.12
    assert plain["organs"]["liver"]["agreement"] is None
    read = CaseFeatures.from_dict(plain, where="row")
    assert read.to_dict() == plain
    assert read.absent == ("spleen",)


def test_a_wrong_measurement_is_named() -> None:
    plain = CaseFeatures({"liver": OrganFeatures(1.0)}).to_dict()
    plain["organs"]["liver"]["pieces"] = "two"
    with pytest.raises(InputError, match=r"row.organs.liver.pieces = 'two'; expected a number"):
        CaseFeatures.from_dict(plain, where="row")
