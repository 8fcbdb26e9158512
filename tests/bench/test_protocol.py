"""The protocol's page and its code agree, and what it asks for is there."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import protocol
from bench.common import ROOT
from bench.semisupervised import PROTOCOL_ROWS, ROWS, WORK, places, set_up
from nnstudent.phantom import label_profiles
from nnstudent.phantom.patient import draw_patient


def asked(**options: object) -> argparse.Namespace:
    plain = {
        "json": ROWS,
        "work": WORK,
        "protocol": False,
        "proportion": "ours",
        "choose": None,
        "preset": ROOT / "bench" / "semisupervised.toml",
    }
    return argparse.Namespace(**(plain | options))


def test_the_page_has_the_numbers_that_are_run() -> None:
    page = (ROOT / "docs" / "results" / "protocol-5.md").read_text("utf-8")
    assert protocol.table() in page
    for goal in protocol.GOALS:
        assert goal.text in page


@pytest.mark.parametrize("name", protocol.PROPORTIONS)
def test_the_cohorts_have_the_scans_that_the_page_promises(name: str) -> None:
    counts = protocol.PROPORTIONS[name]
    assert sum(counts.values()) - counts["test"] == 72
    # A patient is drawn as the cohort draws it, without the scan.
    lesions = [
        draw_patient(
            np.random.default_rng(np.random.SeedSequence([protocol.PHANTOM_SEED, number])),
            tumor=True if kind == "tumor" else None,
        ).lesions
        for number, kind in enumerate(label_profiles(sum(counts.values()), counts))
    ]
    assert sum(bool(hosts) for hosts in lesions) >= protocol.LEAST_WITH_LESIONS


def test_the_papers_proportion_is_the_papers() -> None:
    counts = protocol.PROPORTIONS["paper"]
    for kind, scans in (("full", 222), ("tumor", 597), ("partial", 1381), ("unlabeled", 1800)):
        assert counts[kind] == round(72 * scans / 4000)  # type: ignore[index]


def test_every_arm_learns_long_enough_on_grids_fine_enough_in_time() -> None:
    preset = protocol.networks()
    assert preset.tumor is not None
    for recipe in (preset.student, preset.teachers, preset.tumor):
        assert protocol.steps(recipe) == protocol.LEAST_STEPS
        assert max(recipe.data.spacing_mm) <= 6
        assert recipe.training.true_share > 0
    assert (preset.folds, preset.teachers.training.partial) == (5, "marginal")
    assert preset.tumor.data.spacing_mm == (4.0, 2.5, 2.5)
    assert preset.tumor.training.paint_lesions > 0
    assert protocol.hours("table6") + protocol.hours("tumors") < protocol.MOST_HOURS


def test_the_protocol_is_set_up_in_places_of_its_own(tmp_path: Path) -> None:
    rows, work = places(asked(protocol=True, proportion="paper"))
    assert (rows, work) == (PROTOCOL_ROWS, ROOT / "runs" / "protocol" / "paper")
    run = set_up(asked(protocol=True, proportion="paper"), tmp_path)
    assert (run.counts, run.phantoms) == (protocol.PROPORTIONS["paper"], "medium")
    assert run.preset.tumor is not None
    assert places(asked()) == (ROWS, WORK)
    assert places(asked(proportion="paper"))[1] != WORK


def test_rules_are_chosen_on_other_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = places(asked(protocol=True, proportion="paper", choose="decision"))
    assert rows.name == "protocol-5-results-choosing.json"
    run = set_up(asked(protocol=True, proportion="paper", choose="decision"), tmp_path)
    seen: list[tuple[Path, dict[str, int], int]] = []

    def made(folder: Path, counts: dict[str, int], *, seed: int = 0, **_: object) -> str:
        seen.append((folder, dict(counts), seed))
        return "cohort"

    monkeypatch.setattr("bench.semisupervised_setting.phantom_cohort", made)
    assert run.choosing == run.cohort == "cohort"
    (choosing, counts, seed), (training, _, other) = seen
    assert choosing != training
    assert counts == {"test": protocol.CHOOSING_CASES}
    assert seed == protocol.CHOOSING_PHANTOMS != other == protocol.PHANTOM_SEED


def test_the_rule_that_was_chosen_is_that_of_every_arm(tmp_path: Path) -> None:
    run = set_up(asked(protocol=True), tmp_path)
    run = replace(run, preset=replace(run.preset, decision="argmax"))
    rules = {
        arm.decision for arm in run.arms if arm.learns == "all" and arm.experiment != "decision"
    }
    assert rules == {"argmax"}
    assert {arm.decision for arm in run.arms if arm.experiment == "decision"} == {"argmax", "dice"}


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (0.04, (0.01, 0.07), "reached"),
        (0.04, (-0.01, 0.07), "missed"),
        (0.02, (0.01, 0.03), "missed"),
        (math.nan, (math.nan, math.nan), "not measured"),
    ],
)
def test_a_goal_needs_the_difference_and_the_interval(
    value: float, interval: tuple[float, float], said: str
) -> None:
    assert protocol.verdict(protocol.GOALS[0], value, interval) == said
