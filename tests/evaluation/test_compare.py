"""Two methods compared on the same cases."""

from __future__ import annotations

import pytest

from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.evaluation.compare import compare_methods
from nnstudent.evaluation.evaluate import evaluate
from tests.reports import read_report


def test_two_methods_are_compared_per_class_and_for_the_means(methods, capsys):
    out = methods / "r.json"
    command = [
        "evaluate",
        str(methods / "good"),
        str(methods / "truth"),
        "--against",
        str(methods / "poor"),
        "--report",
        str(out),
    ]
    assert main(command) == 0
    report = read_report(out, "evaluate")
    found = report["against"]
    assert list(found["results"])[-1] == "organs"
    assert {"liver", "tumor", "organs"} <= set(found["results"])
    liver = found["results"]["liver"]["dsc"]
    assert (liver["n"], liver["n_different"], liver["effect"]) == (6, 5, 1.0)
    assert liver["difference"] == pytest.approx(liver["first"] - liver["second"])
    assert liver["interval"][0] <= liver["difference"] <= liver["interval"][1]
    assert liver["p"] <= liver["p_holm"] <= 1
    assert found["results"]["organs"]["dsc"]["p_holm"] is None
    assert report["mean"]["liver"]["dsc_interval"] == [1.0, 1.0]
    assert report["mean"]["liver"]["dsc_median"] == 1.0
    printed = capsys.readouterr().out
    assert "Wilcoxon" in printed
    assert f"{liver['difference']:+.4f}" in printed


def test_cases_of_one_method_only_are_listed(methods):
    (methods / "poor" / "c3.nii.gz").unlink()
    (methods / "good" / "c4.nii.gz").unlink()
    good, poor = (
        evaluate(methods / name, methods / "truth", common_only=True) for name in ("good", "poor")
    )
    found = compare_methods(good, poor)
    assert (found.only_first, found.only_second) == (["c3"], ["c4"])
    assert found.results["liver"]["dsc"].n == 4
    zero = compare_methods(
        *(evaluate(methods / name, methods / "truth") for name in ("good", "poor"))
    )
    assert zero.results["liver"]["dsc"].n == 6
    assert zero.results["liver"]["dsc"].effect < 1


def test_methods_scored_differently_are_not_compared(methods):
    with pytest.raises(InputError, match="same way"):
        compare_methods(
            evaluate(methods / "good", methods / "truth"),
            evaluate(methods / "poor", methods / "truth", protocol="flare23"),
        )


def test_no_class_on_both_sides_is_no_result(methods):
    liver, spleen = (
        evaluate(methods / "good", methods / "truth", classes=[name])
        for name in ("liver", "spleen")
    )
    assert compare_methods(liver, spleen).results == {}
