"""Inputs are recognized by content; others are named, and what is ambiguous is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.files.find import find_cases, find_inputs

CT = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


@pytest.fixture
def scans(tmp_path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    save(folder / "a.nii.gz")
    save(folder / "b.nii.gz")
    return folder


def save(path: Path, array: np.ndarray = CT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def labels(path: Path) -> Path:
    return save(path, (CT > 0).astype(np.uint8))


def dicom(folder: Path, slices: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(slices):
        (folder / f"{number}").write_bytes(bytes(128) + b"DICM" + bytes(20))
    return folder


def ids(source: Path, output: Path) -> list[str]:
    return [case.id for case in find_cases(source, output)]


def test_outputs_of_an_earlier_run_are_no_inputs(scans, tmp_path):
    labels(scans / "a_labels.nii.gz")
    (scans / "a.preview.png").write_bytes(b"\x89PNG")
    (scans / "a.statistics.csv").write_text("class,ml\n")
    (scans / "._a.nii.gz").write_bytes(bytes(10))
    labels(scans / "out" / "a.nii.gz")
    found = find_inputs(scans, tmp_path / "out")
    assert [case.id for case in found.cases] == ["a", "b"]
    assert found.notices == (
        "passed over: 2 × file that is not an image: a.preview.png, a.statistics.csv",
        "passed over: 1 × hidden file: ._a.nii.gz",
        "passed over: 1 × label map or picture of 8 bits: a_labels.nii.gz",
        "passed over: 1 × folder: out",
    )


def test_the_output_inside_the_input_is_not_mentioned(scans):
    labels(scans / "out" / "a.nii.gz")
    assert find_inputs(scans, scans / "out").notices == ()


def test_labels_beside_a_series_do_not_take_its_place(tmp_path):
    folder = dicom(tmp_path / "study")
    labels(folder / "labels.nii.gz")
    found = find_inputs(folder, folder / "labels.nii.gz")
    assert [(case.id, case.source) for case in found.cases] == [("study", folder)]
    assert found.notices == ()  # the series' reader names it


@pytest.mark.parametrize("deep", [False, True])
def test_each_stray_file_beside_a_series_is_named_once(tmp_path, deep):
    from nnstudent.io.dicom.find import find_series
    from tests.io.series import Series

    folder = Series().write(tmp_path / "scans" / "one")
    labels(folder / "labels.nii.gz")
    (folder / "below").mkdir()
    strays = ["notes.txt", ".DS_Store", "scan.vtk", "lone.img", "below/report.pdf"]
    for name in strays:
        (folder / name).write_bytes(b"text " * 50)
    found = find_inputs(folder.parent if deep else folder, tmp_path / "out")
    (case,) = found.cases
    text = "\n".join([*found.notices, *find_series(case.source).warnings])
    for name in (*strays, "labels.nii.gz"):
        assert text.count(name) == 1, text


def test_an_image_beside_a_series_is_ambiguous(tmp_path):
    folder = dicom(tmp_path / "study")
    save(folder / "other.nii.gz")
    with pytest.raises(InputError, match=r"holds a DICOM series and other\.nii\.gz"):
        find_cases(folder, tmp_path / "out")
    with pytest.raises(InputError, match=r"study: holds a DICOM series and other\.nii\.gz"):
        find_cases(tmp_path, tmp_path / "out")


def test_a_folder_of_case_folders_is_taken_whole(tmp_path):
    source = tmp_path / "cases"
    dicom(source / "one" / "series")
    save(source / "two" / "ct.nii.gz")
    labels(source / "two" / "label.nii.gz")
    save(source / "three" / "CT.NII")
    (source / "notes").mkdir()
    (source / "notes" / "x.txt").write_text("nothing")
    save(source / "out" / "one.nii.gz", (CT > 0).astype(np.uint8))
    found = find_inputs(source, source / "out")
    assert {case.id: case.source for case in found.cases} == {
        "one": source / "one",
        "two": source / "two" / "ct.nii.gz",
        "three": source / "three" / "CT.NII",
    }
    assert found.notices == (
        "passed over: 1 × label map or picture of 8 bits: two/label.nii.gz",
        "passed over: 1 × folder without an image: notes",
    )
    save(source / "two" / "second.nii.gz")
    with pytest.raises(InputError, match="two: holds several images"):
        find_cases(source, source / "out")


def test_the_suffix_of_a_channel(tmp_path):
    source = tmp_path / "in"
    for name in ("img_0000", "img_0001"):
        save(source / f"{name}.nii.gz")
    assert ids(source, tmp_path / "out") == ["img_0000", "img_0001"]
    assert ids(source / "img_0000.nii.gz", tmp_path / "out") == ["img_0000"]
    for name in ("other_0000", "other_0001"):
        save(source / f"{name}.nii.gz")
    with pytest.raises(InputError, match="holds 2 channels of each case"):
        find_cases(source, tmp_path / "out")
    for path in source.glob("*_0001.nii.gz"):
        path.unlink()
    labels(source / "labels.nii.gz")
    assert ids(source, tmp_path / "out") == ["img", "other"]
    assert ids(source / "img_0000.nii.gz", tmp_path / "out") == ["img"]


@pytest.mark.parametrize(
    "names", [("a.nii.gz", "a.nii"), ("a.nii.gz", "A.nii"), ("é.nii", "e\u0301.nii.gz")]
)
def test_two_images_of_one_output_are_both_named(tmp_path, names):
    for name in names:
        save(tmp_path / "in" / name)
    with pytest.raises(InputError) as error:
        find_cases(tmp_path / "in", tmp_path / "out")
    assert all(str(tmp_path / "in" / name) in str(error.value) for name in names)


def test_a_file_of_two_names_is_one_case(scans, tmp_path):
    os.symlink(scans / "a.nii.gz", scans / "0.nii.gz")
    os.link(scans / "b.nii.gz", scans / "c.nii.gz")  # two names of equal right: both are asked for
    found = find_inputs(scans, tmp_path / "out")
    assert [case.id for case in found.cases] == ["a", "b", "c"]
    assert found.notices == ("passed over: 1 × second name of the same file: 0.nii.gz",)


def test_images_behind_links_are_not_replaced(scans, tmp_path):
    (tmp_path / "links").mkdir()
    os.symlink(scans / "a.nii.gz", tmp_path / "links" / "a.nii.gz")
    with pytest.raises(InputError, match="is the image itself"):
        find_cases(tmp_path / "links", scans)


@pytest.mark.parametrize(
    "name", ["-x.nii.gz", "a b.c.nii.gz", "Ωμ.nii.gz", "a\udcff.nii.gz", "x" * 248 + ".nii.gz"]
)
def test_odd_names_are_kept(tmp_path, name):
    save(tmp_path / "x.nii.gz")
    source = tmp_path / "in"
    source.mkdir()
    shutil.move(
        tmp_path / "x.nii.gz", os.fsencode(source / name).decode("utf-8", "surrogateescape")
    )
    (case,) = find_cases(source, tmp_path / "out")
    assert case.output.name == name


def test_an_output_of_too_long_a_name_is_said_before_the_work(tmp_path):
    save(tmp_path / "in" / "x.nii")
    shutil.move(tmp_path / "in" / "x.nii", tmp_path / "in" / ("x" * 251 + ".nii"))
    with pytest.raises(InputError, match="a name of 258 bytes; expected at most 255"):
        find_cases(tmp_path / "in", tmp_path / "out")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is a pipe or device"),
    "slice": (
        lambda path: path.write_bytes(bytes(128) + b"DICM"),
        "is one file of a DICOM series; give the folder",
    ),
    "nothing": (lambda path: None, "no such file or folder"),
    "only labels": (
        lambda path: labels(path / "l.nii.gz"),
        "no image in this folder.*8 bits: l.nii.gz",
    ),
    "only other formats": (
        lambda path: (path.mkdir(), (path / "a.vtk").write_bytes(b"# vtk DataFile")),
        r"not an image: a\.vtk",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_input_is_refused(tmp_path, kind):
    make, said = WRONG[kind]
    make(tmp_path / "in")
    with pytest.raises(InputError, match=said):
        find_cases(tmp_path / "in", tmp_path / "out")


def test_a_label_map_is_no_image(tmp_path, isotropic, capfd):
    """Stored in whatever type, alone or among images: it fails by name, and the others are done."""
    from nnstudent.cli.main import main
    from tests.inference.conftest import blobs

    image = blobs((12, 24, 24), (4.0, 4.0, 4.0))
    source = tmp_path / "in"
    source.mkdir()
    nib.save(
        nib.Nifti1Image(image.array.T.astype(np.int16), image.grid.affine), source / "ct.nii.gz"
    )
    nib.save(
        nib.Nifti1Image((image.array.T > 0).astype(np.int16), image.grid.affine),
        source / "labels.nii.gz",
    )
    (source / "notes.txt").write_text("")
    model = ("--model", str(isotropic))
    report = tmp_path / "r.json"
    assert (
        main(["segment", str(source), "-o", str(tmp_path / "out"), *model, "--report", str(report)])
        == 1
    )
    err = capfd.readouterr().err
    assert "failed: labels: " in err
    assert "a label map; expected a CT in HU" in err
    assert "passed over: 1 × file that is not an image: notes.txt" in err
    told = json.loads(report.read_text())
    assert [case["id"] for case in told["cases"]] == ["ct"]
    assert told["notices"] == ["passed over: 1 × file that is not an image: notes.txt"]
    assert (
        main(["segment", str(source / "labels.nii.gz"), "-o", str(tmp_path / "l.nii.gz"), *model])
        == 2
    )


def test_a_guess_of_the_orientation_is_in_every_output_of_segment(tmp_path, isotropic, capfd):
    from nnstudent.cli.main import main
    from tests.inference.conftest import blobs

    image = blobs((12, 24, 24), (4.0, 4.0, 4.0))
    made = nib.Nifti1Image(image.array.T.astype(np.int16), None)
    made.header.set_zooms((4.0, 4.0, 4.0))
    made.header["sform_code"] = made.header["qform_code"] = 0
    nib.save(made, tmp_path / "ct.nii.gz")
    model, report = ("--model", str(isotropic)), tmp_path / "r.json"
    assert (
        main(
            [
                "segment",
                str(tmp_path / "ct.nii.gz"),
                "-o",
                str(tmp_path / "l.nii.gz"),
                *model,
                "--report",
                str(report),
            ]
        )
        == 0
    )
    assert "does not state the orientation" in capfd.readouterr().err
    assert any(
        "does not state the orientation" in line
        for line in json.loads(report.read_text())["cases"][0]["warnings"]
    )
