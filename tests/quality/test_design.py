"""How unusual measurements are, beside those of other scans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.quality.design import BASIS, design, displacement, find_middle, fit_norms
from nnstudent.quality.features import CaseFeatures
from tests.quality.cases import ORGANS, PLACES, known_cases

CASES = [case.features for case in known_cases(0, 40)]
NORMS = fit_norms(CASES, ORGANS)


def column(case: CaseFeatures, name: str, organ: str) -> float:
    rows = design(case, NORMS)
    return float(rows.values[rows.names.index(organ), BASIS.index(name)])


def test_scores_of_the_calibration_have_mean_0_and_deviation_1() -> None:
    scores = [column(case, "mean_hu", "liver") for case in CASES]
    assert np.mean(scores) == pytest.approx(0, abs=0.01)
    assert np.std(scores, ddof=1) == pytest.approx(1, abs=0.01)


def test_places_are_found_whatever_the_position_of_the_patient() -> None:
    for name, place in PLACES.items():
        own = np.array(NORMS[name].place_mm) - NORMS["aorta"].place_mm
        assert own == pytest.approx(np.array(place) - PLACES["aorta"], abs=5)
    moved = {
        name: replace(organ, right_mm=organ.right_mm + 300)
        for name, organ in CASES[0].organs.items()
    }
    shift = find_middle(replace(CASES[0], organs=moved), NORMS) - find_middle(CASES[0], NORMS)
    assert shift == pytest.approx([300, 0, 0])


def test_an_organ_on_the_wrong_side_is_displaced_and_the_others_are_not() -> None:
    case = CASES[0]
    wrong = replace(case.organs["spleen"], right_mm=case.organs["spleen"].right_mm + 160)
    far = displacement(replace(case, organs={**case.organs, "spleen": wrong}), NORMS)
    assert far["spleen"] == 5
    assert max(far[name] for name in ("liver", "aorta", "gallbladder")) < 4


def test_novelty_grows_with_what_is_unusual() -> None:
    case = CASES[0]
    odd = replace(case.organs["liver"], mean_hu=700.0, volume_ml=9.0)
    names = design(case, NORMS).names
    before, after = (
        design(some, NORMS).novelty[names.index("liver")]
        for some in (case, replace(case, organs={**case.organs, "liver": odd}))
    )
    assert after > before + 1


def test_an_unknown_organ_has_no_row() -> None:
    one = CASES[0].organs["liver"]
    assert design(CaseFeatures({"heart": one}), NORMS).names == ()
    assert design(CaseFeatures({"heart": one, "liver": one}), NORMS).names == ("liver",)
