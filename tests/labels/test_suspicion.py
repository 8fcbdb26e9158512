"""What is suspicious beside others, from figures without any image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.labels.form import Form
from nnstudent.labels.measure import Density, Measures
from nnstudent.labels.suspicion import MOST, CaseFacts, Finding, find_suspicious, suspicion
from nnstudent.taxonomy import flare23

PLACES = {"liver": (60, 0, 0), "right_kidney": (50, -40, -60), "left_kidney": (-50, -40, -60),
          "spleen": (-80, -20, 10), "aorta": (-5, -50, 0)}  # fmt: skip
FORM = Form(0.0, 0.0, 0.0, 0.0, jump=0.2, flat=0.2, misfit=0.0)


def fact(id: str, seed: int = 0) -> CaseFacts:
    chance = np.random.default_rng(seed)
    measures = {}
    for name, place in PLACES.items():
        x, y, z = np.array(place) + chance.normal(0, 3, 3)
        density = Density(100 + chance.normal(0, 4), 15, 100, (0, 0, 0, 0), 0, 200)
        measures[name] = Measures(
            name, 200 * float(np.exp(chance.normal(0, 0.1))), 1000, 1, 100, 50, 40,
            (60, 60, 80), (x, y, z), False, density,
        )  # fmt: skip
    forms = dict.fromkeys(PLACES, FORM)
    return CaseFacts(id, measures, forms, (-200, -200, -200), (200, 200, 200))


@pytest.fixture
def cases() -> list[CaseFacts]:
    return [fact(f"c{seed}", seed) for seed in range(20)]


def changed(case: CaseFacts, name: str, **more) -> CaseFacts:
    return replace(case, measures={**case.measures, name: replace(case.measures[name], **more)})


def found(cases, id="c3") -> set[tuple[str, str]]:
    return {(item.name, item.kind) for item in find_suspicious(cases, flare23()) if item.case == id}


def test_nothing_is_found_among_equals(cases):
    assert not find_suspicious(cases, flare23())
    assert not find_suspicious([], flare23())


@pytest.mark.parametrize(
    ("name", "more", "kinds"),
    [
        ("liver", {"volume_ml": 60.0}, {("liver", "volume")}),
        ("liver", {"volume_ml": 60.0, "touches_border": True}, set()),
        ("spleen", {"center_mm": (-30.0, -20.0, 10.0)}, {("spleen", "place")}),
        ("left_kidney", {"size_mm": (60, 60, 30)}, {("left_kidney", "height")}),
    ],
)
def test_a_figure_far_from_the_others_is_named(cases, name, more, kinds):
    cases[3] = changed(cases[3], name, **more)
    assert found(cases) == kinds


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"loose": 0.2}, "pieces"), ({"holes": 0.1}, "holes"), ({"missing": 0.1}, "missing slices"),
        ({"misfit": 0.5}, "misfit"), ({"jump": 0.8}, "jump"), ({"flat": 0.9}, "flat end"),
        ({"slice_holes": 0.1}, "holes in slices"),
    ],
)  # fmt: skip
def test_each_fault_of_form_is_named(cases, more, kind):
    cases[3] = replace(cases[3], forms={**cases[3].forms, "liver": replace(FORM, **more)})
    assert found(cases) == {("liver", kind)}


def test_exchanged_sides_are_found_in_one_case_too(cases):
    case = cases[3]
    right, left = (case.measures[f"{side}_kidney"].center_mm for side in ("right", "left"))
    case = changed(changed(case, "right_kidney", center_mm=left), "left_kidney", center_mm=right)
    assert found([case]) == {("right_kidney", "side"), ("left_kidney", "side")}


def test_an_absent_class_is_missed_where_it_is_in_view_and_others_have_it(cases):
    def without(case: CaseFacts) -> CaseFacts:
        forms = {name: form for name, form in case.forms.items() if name != "spleen"}
        measures = {**case.measures, "spleen": Measures("spleen", 0.0)}
        return replace(case, forms=forms, measures=measures)

    cases[3] = without(cases[3])
    assert found(cases) == {("spleen", "absent")}
    cut = replace(cases[3], low_mm=(-200, -200, 0))
    assert not find_suspicious([*cases[:3], cut, *cases[4:]], flare23())
    many = [without(case) if number % 4 == 3 else case for number, case in enumerate(cases)]
    assert not find_suspicious(many, flare23())


def test_disagreement_with_a_prediction_is_named(cases):
    cases = [replace(case, dsc=dict.fromkeys(PLACES, 0.93)) for case in cases]
    cases[3] = replace(cases[3], dsc={**cases[3].dsc, "spleen": 0.2})
    assert found(cases) == {("spleen", "prediction")}


def test_suspicion_grows_with_each_finding():
    one = Finding("c", "liver", "volume", 6.5, "")
    assert suspicion([]) == 0
    assert suspicion([one]) == pytest.approx(3)
    assert suspicion([one, replace(one, deviations=7.5)]) == pytest.approx(5)
    assert MOST == 50
