"""Scores as a report, a table and JSON."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.evaluation.evaluate import evaluate
from tests.evaluation.scenes import SHAPE, save


def test_the_report_and_the_table_hold_the_same_figures(folders, tmp_path, capsys):
    out = tmp_path / "report.json"
    command = [
        "evaluate",
        str(folders[0]),
        str(folders[1]),
        "--report",
        str(out),
        "--csv",
        str(tmp_path / "s.csv"),
    ]
    assert main(command) == 0
    report = json.loads(out.read_text())
    assert {"schema", "version", "command", "protocol", "cases", "mean"} <= set(report)
    assert report["protocol"] == "strict"
    assert {"organs", "tumor", "liver"} <= set(report["mean"])
    assert report["mean"]["liver"]["n"] == 2
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert {row["case"] for row in rows} == {"a", "b", "mean"}
    b_liver = next(row for row in rows if row["case"] == "b" and row["class"] == "liver")
    assert (
        float(b_liver["dsc"])
        == next(case for case in report["cases"] if case["id"] == "b")["dsc"]["liver"]
    )
    printed = capsys.readouterr().out
    assert (
        f"{report['mean']['liver']['dsc']:.4f} ± {report['mean']['liver']['dsc_sd']:.4f}" in printed
    )
    assert "organs" in printed


@pytest.mark.parametrize("option", ["--report", "--csv"])
def test_the_table_is_printed_even_if_an_output_cannot_be_written(
    folders, tmp_path, capsys, option
):
    place = tmp_path / "folder"
    place.mkdir()
    other = {"--report": "--csv", "--csv": "--report"}[option]
    written = tmp_path / "other"
    assert (
        main(
            ["evaluate", str(folders[0]), str(folders[1]), option, str(place), other, str(written)]
        )
        == 2
    )
    streams = capsys.readouterr()
    assert "liver" in streams.out
    first, last = [line for line in streams.err.splitlines() if str(place) in line]
    assert "is a folder" in first
    assert "cannot be written" in last
    assert written.stat().st_size > 0


def test_nan_is_null_in_json_and_empty_in_csv(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 5:9, 5:9] = 5
    save(tmp_path / "a.nii.gz", labels)
    scores = evaluate(
        tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", protocol="flare23", classes=["aorta"]
    )
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["cases"][0]["dsc"] == {
        "aorta": None
    }
    assert "a,aorta,,,1" in scores.to_csv()
