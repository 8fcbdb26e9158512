"""The verb ``stats``."""

from __future__ import annotations

import csv

import numpy as np

from nnstudent.cli.main import main
from nnstudent.io.nifti import write_labels
from nnstudent.volume import Grid, Volume
from tests.reports import read_report


def write(path, value=1):
    array = np.zeros((4, 8, 8), np.uint8)
    array[1:3, 2:6, 2:6] = value
    write_labels(path, Volume(array, Grid(array.shape, np.diag([2.0, 2.0, 5.0, 1.0]))))


def test_a_folder_makes_one_table(tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / "labels" / f"{name}.nii.gz")
    table, report = tmp_path / "t.csv", tmp_path / "r.json"
    argv = ["stats", str(tmp_path / "labels"), "-o", str(table), "--classes", "liver"]
    assert main([*argv, "--report", str(report)]) == 0
    rows = list(csv.DictReader(table.open()))
    assert [(row["case"], row["organ"], row["volume_ml"]) for row in rows] == [
        ("a", "liver", "0.640"),
        ("b", "liver", "0.640"),
    ]
    assert [row["case"] for row in read_report(report, "stats")["rows"]] == ["a", "b"]
    assert "2 cases; wrote" in capsys.readouterr().out


def test_without_output_the_table_is_printed(tmp_path, capsys):
    write(tmp_path / "a.nii.gz")
    assert main(["stats", str(tmp_path / "a.nii.gz"), "--classes", "liver", "--wide"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.startswith("case,liver.volume_ml,")
    assert row.startswith("a,0.640,")


def test_a_broken_label_map_is_named_and_the_others_are_measured(tmp_path, capsys):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.nii.gz", value=99)
    assert main(["stats", str(tmp_path), "-o", str(tmp_path / "out" / "t.csv")]) == 1
    assert "failed: b" in capsys.readouterr().err
    assert main(["stats", str(tmp_path / "b.nii.gz"), "-o", str(tmp_path / "u.csv")]) == 2
    assert not (tmp_path / "u.csv").exists()


def test_nothing_to_measure_is_one_line(tmp_path, capsys):
    assert main(["stats", str(tmp_path / "none")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
