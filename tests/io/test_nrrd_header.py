"""Headers of NRRD that are malformed or state what cannot be read; segmentations of 3D Slicer."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.io.nrrd_header import open_nrrd, segment_names, stores_bytes
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,20,30)",
}


def save(path, **changed):
    names = {key.replace("_", " "): value for key, value in changed.items()}
    fields = {key: value for key, value in (FIELDS | names).items() if value is not None}
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"
    path.write_bytes(text.encode() + np.arange(24, dtype="<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sizes": "2 3"}, "expected a size for each dimension"),
        ({"sizes": "two"}, "its NRRD header is malformed"),
        ({"type": "block"}, "its type is 'block'"),
        ({"encoding": "hex"}, "its encoding is 'hex'"),
        ({"space": "scanner-xyz"}, "its space is 'scanner-xyz'"),
        ({"space_directions": None}, "states no spacing"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "2 space directions for 3 axes"),
        ({"space_origin": "(1,2)"}, "its space origin is not of three numbers"),
        ({"space_units": '"m" "m" "m"'}, "its space units are m; expected mm"),
        ({"line_skip": "2"}, "skips lines"),
        ({"data_file": "/etc/passwd"}, "expected one file beside it"),
        ({"data_file": "missing.raw"}, "which is missing"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, changed, said):
    with pytest.raises(InputError) as error:
        open_nrrd(save(tmp_path / "ct.nrrd", **changed))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "first"),
    [
        ("left-posterior-superior", [-10, -20, 30]),
        ("RAS", [10, 20, 30]),
        ("left-anterior-superior", [-10, 20, 30]),
    ],
)
def test_every_space_is_placed(tmp_path, space, first):
    image = read_image(save(tmp_path / "ct.nrrd", space=space))
    assert image.grid.affine[:3, 3].tolist() == first
    assert image.array.ravel().tolist() == list(range(24))


def test_voxels_at_the_end_of_another_file(tmp_path):
    path = save(tmp_path / "ct.nhdr", data_file="ct.raw", byte_skip="-1")
    (tmp_path / "ct.raw").write_bytes(b"some header" + np.arange(24, dtype="<i2").tobytes())
    assert read_image(path).array.ravel().tolist() == list(range(24))


def test_one_layer_is_a_label_map_and_several_are_refused(tmp_path):
    one = {"dimension": "4", "kinds": "list domain domain domain",
           "space_directions": "none (1,0,0) (0,1,0) (0,0,2)"}  # fmt: skip
    path = save(tmp_path / "l.seg.nrrd", sizes="1 2 3 4", **one)
    assert read_labels(path).array.shape == (4, 3, 2)
    with pytest.raises(InputError, match="has 2 layers or components"):
        open_nrrd(save(tmp_path / "l.seg.nrrd", sizes="2 2 3 2", **one))


def test_the_segments_of_slicer_are_named(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[1, 2, 3], array[2, 2, 2] = 1, 3
    path = tmp_path / "l.seg.nrrd"
    write_seg_nrrd(path, Volume(array, Grid(array.shape, np.eye(4))), taxonomy=flare23())
    assert segment_names(path) == {"Liver": 1, "Spleen": 3}
    assert np.array_equal(read_labels(path).array, array)
    assert segment_names(save(tmp_path / "ct.nrrd")) == {}


def test_bytes_are_known_by_the_header():
    assert stores_bytes(b"NRRD0004\r\ntype: unsigned char\r\ndimension: 3\r\n")
    assert stores_bytes(b"NRRD0004\ntype: uint8\ndimension: 3\n")
    assert not stores_bytes(b"NRRD0004\ntype: short\ndimension: 3\n")
