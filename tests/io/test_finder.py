"""What lies in a folder is told by content; what is passed over is named."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.io.content import content_of
from nnstudent.io.finder import case_names, channels_of, describe, list_folder, same_name

CT = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


def save(path: Path, array: np.ndarray = CT, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(array, np.eye(4)), path)
    return path


def test_everything_in_a_folder_is_named(tmp_path):
    save(tmp_path / "a.nii.gz")
    save(tmp_path / "pair.img", kind=nib.Nifti1Pair)
    save(tmp_path / "old.img", kind=nib.AnalyzeImage)
    save(tmp_path / "b.mgz", kind=nib.MGHImage)
    (tmp_path / "UPPER.NII.GZ").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "no_suffix").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "not_packed.nii.gz").write_bytes(
        gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    )
    (tmp_path / "damaged.nii").write_bytes(b"what is this")
    save(tmp_path / "labels.nii.gz", (CT > 0).astype(np.uint8))
    (tmp_path / "._a.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "c.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "d.mha").write_bytes(b"ObjectType = Image\n")
    (tmp_path / "lonely.img").write_bytes(bytes(100))
    (tmp_path / "slice").write_bytes(bytes(128) + b"DICM" + bytes(10))
    (tmp_path / "slice.dcm").write_bytes(b"")
    (tmp_path / "inside").mkdir()
    os.symlink(tmp_path / "a.nii.gz", tmp_path / "0_again.nii.gz")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    found = list_folder(tmp_path)
    images = [
        "UPPER.NII.GZ",
        "a.nii.gz",
        "b.mgz",
        "c.nrrd",
        "d.mha",
        "damaged.nii",
        "no_suffix",
        "not_packed.nii.gz",
        "old.hdr",
        "pair.hdr",
    ]
    assert [path.name for path in found.images] == images
    assert [path.name for path in found.labels] == ["labels.nii.gz"]
    assert [path.name for path in found.dicom] == ["slice", "slice.dcm"]
    assert [path.name for path in found.folders] == ["inside"]
    assert describe(found.passed_over, root=tmp_path) == (
        "passed over: 2 × file that is not an image: dataset.json, picture.png",
        "passed over: 1 × hidden file: ._a.nii.gz",
        "passed over: 2 × pipe, device or broken link: broken.nii.gz, pipe.nii.gz",
        "passed over: 1 × second name of the same file: 0_again.nii.gz",
        "passed over: 1 × voxel file without its .hdr file: lonely.img",
    )


def test_many_are_counted_and_not_listed(tmp_path):
    paths = tuple(tmp_path / f"{number}.txt" for number in range(1000))
    assert describe({"note": paths}, root=tmp_path) == (
        "passed over: 1000 × note: 0.txt, 1.txt, 2.txt, …",
    )


def test_a_name_that_is_not_text_can_be_shown(tmp_path):
    (line,) = describe({"note": [tmp_path / "a\udcff.txt"]}, root=tmp_path)
    line.encode("utf-8")


def test_labels_of_one_byte_are_told_from_scaled_ones(tmp_path):
    """A scale makes HU of one byte; without it no value is below -128."""
    scaled = nib.Nifti1Image(CT.astype(np.float32), np.eye(4))
    scaled.header.set_data_dtype(np.uint8)
    nib.save(scaled, tmp_path / "scaled.nii")
    save(tmp_path / "labels.nii", (CT > 0).astype(np.uint8))
    marked = nib.Nifti1Image((CT > 0).astype(np.int16), np.eye(4))
    marked.header.set_intent("label")
    nib.save(marked, tmp_path / "marked.nii")
    save(tmp_path / "second.nii", (CT > 0).astype(np.uint8), kind=nib.Nifti2Image)
    found = list_folder(tmp_path)
    assert [path.name for path in found.images] == ["scaled.nii"]
    assert [path.name for path in found.labels] == ["labels.nii", "marked.nii", "second.nii"]
    assert [path.name for path in found.volumes] == [
        "labels.nii",
        "marked.nii",
        "scaled.nii",
        "second.nii",
    ]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["img_0000", "img_0001"], ["img_0000", "img_0001"]),
        (["a_0000", "b_0000"], ["a", "b"]),
        (["a_0000"], ["a"]),
        (["a_0000", "b"], ["a_0000", "b"]),
        (["a_0000_0000", "b_0000_0000"], ["a_0000", "b_0000"]),
        (["a.b.c_0000"], ["a.b.c"]),
        (["_0000"], ["_0000"]),
        (["0000", "0001"], ["0000", "0001"]),
    ],
)
def test_the_channel_suffix_is_removed_if_all_have_it(files, names):
    assert list(case_names([Path(f"{name}.nii.gz") for name in files]).values()) == names


@given(st.lists(st.from_regex(r"[a-c](_000[0-2])?", fullmatch=True), unique=True, max_size=6))
def test_names_of_cases_never_collide(files):
    names = list(case_names([Path(f"{name}.nii.gz") for name in files]).values())
    assert len(set(names)) == len(names) == len(files)


@pytest.mark.parametrize(
    ("files", "channels"),
    [
        (["a_0000", "a_0001", "b_0000", "b_0001"], ("0000", "0001")),
        (["a_0000", "a_0001"], ()),  # two scans with numbers, for all that anybody can tell
        (["a_0000", "a_0001", "b_0000"], ()),
        (["a_0001", "a_0002", "b_0001", "b_0002"], ()),
        (["a_0000", "b_0000"], ()),
        (["a_0000", "a_0001", "b_0000", "b_0001", "c"], ()),
        ([], ()),
    ],
)
def test_channels_of_cases(files, channels):
    assert channels_of([Path(f"{name}.nii.gz") for name in files]) == channels


def test_names_that_some_file_system_takes_for_one():
    assert same_name("Straße") == same_name("STRASSE")
    assert same_name("e\u0301") == same_name("\u00e9")
    assert same_name("a") != same_name("b")


@given(st.binary(max_size=700))
def test_any_bytes_are_something(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes"
    for packed in (data, gzip.compress(data), gzip.compress(data)[:-9]):
        path.write_bytes(packed)
        content_of(path)
