"""Regions of DICOM objects become the classes that their names mean."""

from __future__ import annotations

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from nnstudent.cli.main import main  # noqa: E402
from nnstudent.io.dicom.rtstruct import write_rtstruct  # noqa: E402
from nnstudent.io.dicom.seg import write_seg  # noqa: E402
from nnstudent.io.dicom.series import read_series  # noqa: E402
from nnstudent.io.nifti import read_labels  # noqa: E402
from nnstudent.taxonomy import flare23  # noqa: E402
from tests.io.dicom.objects import labeled, labels_of  # noqa: E402
from tests.io.series import ORIENTATIONS, anatomical  # noqa: E402


@pytest.fixture
def made(tmp_path):
    """A study, its labels, and a folder with both kinds of objects of it."""
    folder = anatomical(*ORIENTATIONS[0]).write(tmp_path / "study")
    series = read_series(folder)
    labels = labels_of(series)
    (tmp_path / "objects").mkdir()
    write_seg(tmp_path / "objects" / "a.seg.dcm", labeled(labels, series))
    write_rtstruct(tmp_path / "objects" / "b.rtstruct.dcm", labeled(labels, series))
    return folder, labels


@pytest.mark.parametrize("name", ["a.seg.dcm", "b.rtstruct.dcm"])
def test_an_object_becomes_a_label_map_of_its_series(tmp_path, made, name, capsys):
    study, labels = made
    out = tmp_path / "labels.nii.gz"
    argv = ["relabel", str(tmp_path / "objects" / name), "-o", str(out), "--like", str(study)]
    assert main(argv) == 0
    found = read_labels(out)
    assert np.array_equal(found.array, labels.array)
    assert found.grid.matches(labels.grid)
    assert "1 case, 1 file" in capsys.readouterr().out


def test_foreign_names_are_mapped_and_others_named(tmp_path, made, capsys):
    study, labels = made
    path = tmp_path / "objects" / "b.rtstruct.dcm"
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[0].ROIName = "GTV 1"
    first = dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(path)
    assert first == 1
    argv = ["relabel", str(path), "-o", str(tmp_path / "l.nii.gz"), "--like", str(study)]
    assert main(argv) == 0
    assert "none of the label table: GTV 1" in capsys.readouterr().out
    there = np.unique(labels.array)
    free = next(item for item in flare23() if item.kind == "organ" and item.id not in there)
    assert main([*argv, "--map", f"GTV 1={free.name}"]) == 0
    found = read_labels(tmp_path / "l.nii.gz").array
    assert np.array_equal(found == free.id, labels.array == there[1])


def test_what_cannot_be_is_one_line_and_nothing_is_written(tmp_path, made, capsys):
    objects = tmp_path / "objects"
    for argv, said in (
        ([str(objects / "b.rtstruct.dcm"), "-o", str(tmp_path / "x.nii.gz")], "with --like"),
        ([str(objects), "-o", str(tmp_path / "x"), "--like", str(tmp_path)], "has no image of a"),
    ):
        assert main(["relabel", *argv]) != 0
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x.nii.gz").exists()
    assert not list((tmp_path / "x").glob("*")) if (tmp_path / "x").exists() else True
