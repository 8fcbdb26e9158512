"""What the command offers is what the rooms accept."""

from __future__ import annotations

import argparse
from typing import get_args

import pytest

from nnstudent import choices
from nnstudent.cli.main import build_parser
from nnstudent.pipeline.presets import preset_names, read_preset

(VERBS,) = (
    action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
)


def test_the_tables_of_the_rooms_have_these_names() -> None:
    from nnstudent.evaluation.pairs import CaseSubset
    from nnstudent.evaluation.protocols import PROTOCOLS
    from nnstudent.inference.files.formats import FORMATS
    from nnstudent.inference.labels.postprocess import RULES
    from nnstudent.labels.relabel import Conflict
    from nnstudent.pseudo.ensemble import DecisionRule
    from nnstudent.report.export import SUFFIXES
    from nnstudent.training.teach import Target

    assert tuple(FORMATS) == choices.FORMATS
    assert tuple(RULES) == choices.RULES
    assert tuple(PROTOCOLS) == choices.PROTOCOLS
    assert set(get_args(CaseSubset)) == set(choices.CASES_OF_A_COHORT)
    assert set(get_args(DecisionRule)) == set(choices.DECISIONS)
    assert set(get_args(Conflict)) == set(choices.CONFLICTS)
    assert set(get_args(Target)) == set(choices.TARGETS)
    assert {"html", *SUFFIXES} == set(choices.REPORT_FORMATS)
    assert set(choices.DEFAULT_RULES) < set(choices.RULES)


@pytest.mark.parametrize(
    ("verb", "option", "values"),
    [
        *((verb, "--device", choices.DEVICES) for verb in ("segment", "label")),
        *((verb, "--device", choices.TRAINING_DEVICES) for verb in ("run", "teach", "study")),
        *((verb, "--engine", choices.ENGINES) for verb in ("segment", "label")),
        ("segment", "--precision", choices.PRECISIONS),
        ("segment", "--windows", choices.WINDOWS),
        ("evaluate", "--protocol", choices.PROTOCOLS),
        ("evaluate", "--cases", choices.CASES_OF_A_COHORT),
        ("label", "--decision", choices.DECISIONS),
        ("relabel", "--conflict", choices.CONFLICTS),
        ("relabel", "--dicom", choices.DICOM_OBJECTS),
        ("teach", "--target", choices.TARGETS),
        ("qc", "--strategy", choices.STRATEGIES),
        ("report", "--format", choices.REPORT_FORMATS),
    ],
)
def test_the_command_offers_them(verb: str, option: str, values: tuple[str, ...]) -> None:
    assert VERBS.choices[verb]._option_string_actions[option].choices == values


@pytest.mark.parametrize(
    ("verb", "option", "values"),
    [
        ("segment", "--format", choices.FORMATS),
        ("segment", "--postprocess", (*choices.RULES, ",".join(choices.DEFAULT_RULES))),
        *((verb, "--preset", preset_names()) for verb in ("run", "teach", "study")),
    ],
)
def test_the_help_names_them(verb: str, option: str, values: tuple[str, ...]) -> None:
    help = VERBS.choices[verb]._option_string_actions[option].help or ""
    assert [value for value in values if value not in help] == []


def test_every_way_of_windows_has_a_planner() -> None:
    from nnstudent.errors import InputError
    from nnstudent.inference.windows.planners import make_planner

    with pytest.raises(InputError, match=f"expected one of {', '.join(choices.WINDOWS)}"):
        make_planner("spiral", None)  # type: ignore[arg-type]


def test_the_presets_are_files_of_the_package() -> None:
    assert preset_names() == ("demo", "distill", "laptop", "paper")
    assert all(
        "[student" in read_preset(name) or "like = " in read_preset(name) for name in preset_names()
    )
