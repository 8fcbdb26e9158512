"""The verb ``audit``."""

from __future__ import annotations

import csv
import json

import pytest

from nnstudent.cli.main import main
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.labels.audit import COLUMNS
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.labels.torsos import write_torsos
from tests.reports import read_report


@pytest.fixture(scope="module")
def torsos(tmp_path_factory):
    """A cohort folder of ten, of which t04 lacks slices of its liver, and its predictions."""
    folder = tmp_path_factory.mktemp("torsos")
    write_torsos(folder, 10)
    path = folder / "labels" / "t04.nii.gz"
    labels = read_labels(path)
    for case in sorted((folder / "labels").iterdir()):
        truth = read_labels(case)
        write_labels(folder / "model" / "fold_0" / "validation" / case.name, truth)
    array = labels.array.copy()
    array[20:23][array[20:23] == 1] = 0
    write_labels(path, Volume(array, labels.grid))
    (folder / "model" / "plans.json").write_text("{}")
    names = {"background": 0} | {item.name: item.id for item in flare23()}
    (folder / "model" / "dataset.json").write_text(json.dumps({"labels": names}))
    return folder


def test_the_command_writes_page_table_and_report(torsos, tmp_path, capsys):
    pytest.importorskip("jinja2", reason="the extra [report] is not installed")
    out, report = tmp_path / "audit", tmp_path / "r.json"
    argv = ["audit", str(torsos), "-o", str(out), "--predictions", str(torsos / "model")]
    assert main([*argv, "--report", str(report), "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "t04: liver" in said.splitlines()[0]
    assert "10 cases" in said
    rows = list(csv.DictReader((out / "audit.csv").open()))
    assert list(rows[0]) == list(COLUMNS)
    worst = {row["kind"] for row in rows if row["case"] == "t04" and row["class"] == "liver"}
    assert {"missing slices", "prediction"} <= worst
    assert rows[0]["case"] == "t04"
    cases = read_report(report, "audit")["cases"]
    assert cases[0]["id"] == "t04"
    assert len(cases) == 10
    page = (out / "audit.html").read_text("utf-8")
    assert "1. t04" in page
    assert page.count("data:image/jpeg") >= 2
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_predictions_that_are_none_are_refused(torsos, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    labels = torsos / "labels" / "t04.nii.gz"
    write_labels(tmp_path / "other" / "x.nii.gz", read_labels(labels))
    for folder, said in (("model", "have no validation/"), ("other", "are no cases"), ("none", "")):
        argv = ["audit", str(torsos), "-o", str(tmp_path / "o")]
        assert main([*argv, "--predictions", str(tmp_path / folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not list((tmp_path / "o").glob("*"))
