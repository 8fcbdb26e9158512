"""Choosing a student for a budget."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.inference.windows.sliding import dense_starts, padded_shape
from nnstudent.pipeline.preset import load_preset
from nnstudent.training.design.search import Machine, choose, networks, options, shown, typical
from nnstudent.training.design.speed import filled, measure
from nnstudent.volume import Grid
from tests.reports import read_report

CT = Grid((120, 400, 400), np.diag([0.9, 0.9, 3.0, 1.0]))


def machine(speed: float = 1.0) -> Machine:
    """Seconds rise with the width; separable is the quickest kind."""
    kinds = {"plain": 0.12, "strided_stem": 0.08, "separable": 0.06}
    table = {name: kinds[name.split()[0]] * int(name.split()[1]) / speed for name in networks()}
    return Machine("a machine", table, 0.05 / speed, 0.1 / speed)


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 300.0), st.floats(600.0, 8000.0), st.floats(0.1, 50.0))
def test_the_choice_is_within_the_budget_and_nothing_within_it_is_worth_more(
    seconds: float, memory_mb: float, speed: float
) -> None:
    considered = options(machine(speed), CT, classes=15)
    fits = [
        option
        for option in considered
        if option.seconds <= seconds and option.memory_mb <= memory_mb
    ]
    if not fits:
        with pytest.raises(InputError, match="raise the budget"):
            choose(considered, seconds=seconds, memory_mb=memory_mb)
        return
    chosen = choose(considered, seconds=seconds, memory_mb=memory_mb)
    assert chosen in fits
    assert chosen.worth == max(option.worth for option in fits)
    assert chosen in shown(considered, chosen)


@settings(max_examples=20, deadline=None)
@given(st.floats(10.0, 100.0), st.floats(1.0, 10.0))
def test_a_faster_machine_or_more_time_never_gets_a_worse_student(
    seconds: float, times: float
) -> None:
    slow, fast = (options(machine(speed), CT, classes=15) for speed in (1.0, times))
    least = choose(slow, seconds=seconds, memory_mb=8000)
    assert choose(fast, seconds=seconds, memory_mb=8000).worth >= least.worth
    assert choose(slow, seconds=seconds * times, memory_mb=8000).worth >= least.worth


def test_every_option_is_a_recipe_and_its_windows_are_those_that_run() -> None:
    recipe = load_preset("laptop").student
    for option in options(machine(), CT, classes=15):
        made = option.applied(recipe)  # refuses a patch that does not fit the network
        assert made.training == recipe.training
        shape = [
            max(1, round(n * have / want))
            for n, have, want in zip(CT.shape, CT.spacing_mm, option.spacing_mm, strict=True)
        ]
        padded = padded_shape((shape[0], shape[1], shape[2]), option.patch)
        assert option.windows == len(dense_starts(padded, option.patch))
        assert (
            option.seconds
            > option.windows
            * math.prod(option.patch)
            / 1e6
            * machine().network_seconds[option.name]
        )


def test_a_budget_is_for_the_scan_that_nine_of_ten_are_smaller_than() -> None:
    scans = [Grid((n, 100, 100), np.eye(4)) for n in range(1, 11)]
    assert typical(scans).shape[0] == 9
    with pytest.raises(InputError, match="no scan"):
        typical([])


def test_what_was_not_measured_lies_between_what_was() -> None:
    table = filled({"plain 8": 1.0, "plain 16": 2.0, "plain 32": 8.0})
    assert set(table) == {f"plain {width}" for width in (8, 12, 16, 24, 32)}
    assert table["plain 12"] == pytest.approx(1.5)
    assert table["plain 24"] == pytest.approx(2 * 1.5**2)


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = machine()
    assert Machine.from_dict(json.loads(json.dumps(one.to_dict())), where="x") == one
    for broken in (
        {},
        {**one.to_dict(), "scan_seconds": "much"},
        {**one.to_dict(), "network_seconds": [1]},
    ):
        with pytest.raises(InputError, match=r"^x: .*make one with study"):
            Machine.from_dict(broken, where="x")
    with pytest.raises(InputError, match="huge 9"):
        replace(one, network_seconds={"huge 9": 1.0})
    with pytest.raises(InputError, match="above 0"):
        replace(one, scan_seconds=-1.0)


def test_a_machine_is_measured() -> None:
    found = measure(threads=1, widths=(8,), window=(32, 32, 32), scan=(16, 64, 64))
    assert set(found.network_seconds) == {"plain 8", "separable 8", "strided_stem 8"}
    assert choose(options(found, CT, classes=15), seconds=1e6, memory_mb=1e6).worth > 0


def test_study_tells_what_it_chose_and_trains_nothing(
    balls: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cohort(tmp_path / "cohort", balls)
    calibration, report = tmp_path / "machine.json", tmp_path / "report.json"
    calibration.write_text(json.dumps(machine().to_dict()))
    command = [
        "study",
        str(tmp_path / "cohort"),
        "-o",
        str(tmp_path / "out"),
        "--plan-only",
        "--report",
        str(report),
    ]
    budget = ["--budget-seconds", "30", "--budget-memory", "2GB", "--calibration", str(calibration)]
    assert main([*command, *budget]) == 0
    told = capsys.readouterr().out
    assert "chosen: the most points within both" in told
    assert "budget: 30 s and 2.0 GB for a scan" in told
    facts = read_report(report, "study")
    chosen = facts["budget"]["chosen"]
    assert facts["plan"][0]["recipe"]["data"]["patch"] == chosen["patch"]
    assert facts["plan"][0]["recipe"]["network"]["kind"] == chosen["network"]["kind"]
    assert chosen["seconds"] <= 30
    assert facts["budget"]["memory_mb"] == 2e9 / 2**20, "GB are 10⁹ bytes, as segment's are"
    assert not (tmp_path / "out").exists()
    assert main([*command, "--budget-seconds", "0.001", *budget[2:]]) == 2
    assert "no student runs in 0.001 s" in capsys.readouterr().err
    assert main([*command, "--budget-memory", "2GB"]) == 2
    assert "need --budget-seconds" in capsys.readouterr().err
