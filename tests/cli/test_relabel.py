"""The verbs ``relabel`` and ``maps``."""

from __future__ import annotations

import numpy as np

from nnstudent.cli.main import main
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.labels.class_maps import find_map
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.reports import read_report


def write(path, value):
    array = np.zeros((4, 8, 8), np.uint8)
    array[1:3, 2:6, 2:6] = value
    write_labels(path, Volume(array, Grid(array.shape, np.diag([2.0, 2.0, 5.0, 1.0]))))


def test_a_folder_is_relabeled_and_reported(tmp_path, capsys):
    write(tmp_path / "in" / "a.nii.gz", 6)
    out, report = tmp_path / "out", tmp_path / "r.json"
    argv = ["relabel", str(tmp_path / "in"), "-o", str(out), "--map", "amos"]
    assert main([*argv, "--report", str(report)]) == 0
    assert set(np.unique(read_labels(out / "a.nii.gz").array)) == {0, flare23()["liver"].id}
    assert read_report(report, "relabel")["cases"] == [
        {"id": "a", "outputs": [str(out / "a.nii.gz")]}
    ]
    assert "1 case, 1 file" in capsys.readouterr().out


def test_an_unknown_map_is_one_line_with_the_closest(tmp_path, capsys):
    write(tmp_path / "a.nii.gz", 6)
    argv = ["relabel", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "b.nii.gz")]
    assert main([*argv, "--map", "totalsegmentater"]) == 2
    assert "did you mean totalsegmentator?" in capsys.readouterr().err
    assert not (tmp_path / "b.nii.gz").exists()


def test_maps_lists_shows_and_prints_one_to_copy(tmp_path, capsys):
    assert main(["maps"]) == 0
    assert "totalsegmentator     13 of FLARE23's 14 classes" in capsys.readouterr().out
    assert main(["maps", "kits"]) == 0
    assert "right_kidney or left_kidney" in capsys.readouterr().out
    assert main(["maps", "kits", "--toml"]) == 0
    (tmp_path / "k.toml").write_text(capsys.readouterr().out)
    copied = find_map(str(tmp_path / "k.toml"), taxonomy=flare23())
    assert copied.targets == find_map("kits", taxonomy=flare23()).targets
    assert main(["maps", "kit"]) == 2
    assert "did you mean kits?" in capsys.readouterr().err
