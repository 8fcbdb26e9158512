"""Headers of MetaImage that are malformed or state what cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.metaimage import open_metaimage, stores_bytes
from nnstudent.io.nifti import read_image

FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "2 3 4",
    "ElementSpacing": "1 1 2",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def save(path, **changed):
    fields = {key: value for key, value in (FIELDS | changed).items() if value is not None}
    last = fields.pop("ElementDataFile", None)
    fields |= {} if last is None else {"ElementDataFile": last}
    text = "".join(f"{key} = {value}\n" for key, value in fields.items())
    path.write_bytes(text.encode() + np.arange(24, dtype="<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ObjectType": "Scene"}, "its ObjectType is Scene; expected an image"),
        ({"ElementNumberOfChannels": "3"}, "several channels"),
        ({"BinaryData": "False"}, "written as text"),
        ({"DimSize": "2 3"}, "expected a size for each dimension"),
        ({"DimSize": "2 0 4"}, "expected a size for each dimension"),
        ({"NDims": "many"}, "its NDims is 'many'"),
        ({"ElementType": "MET_STRING"}, "its ElementType is 'MET_STRING'"),
        ({"ElementSpacing": "1 nan 2"}, "its ElementSpacing is '1 nan 2'; expected 3 numbers"),
        (
            {"ElementSpacing": None},
            "its header states no spacing; expected ElementSpacing or ElementSize",
        ),
        ({"TransformMatrix": "1 0 0"}, "its TransformMatrix"),
        ({"ElementDataFile": None}, "has no ElementDataFile"),
        ({"ElementDataFile": "LIST"}, "its voxels are in LIST, which is missing"),
        ({"ElementDataFile": "../other.raw"}, "expected one file beside it"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, changed, said):
    with pytest.raises(InputError) as error:
        open_metaimage(save(tmp_path / "ct.mha", **changed))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_twice_is_refused(tmp_path):
    path = save(tmp_path / "ct.mha")
    path.write_bytes(b"NDims = 3\n" + path.read_bytes())
    with pytest.raises(InputError, match="states NDims twice"):
        open_metaimage(path)


def test_the_words_of_old_headers_mean_the_same(tmp_path):
    path = save(
        tmp_path / "ct.mha", ElementSpacing=None, ElementSize="1 1 2",
        Orientation="1 0 0 0 1 0 0 0 1", Position="10 20 30", ElementByteOrderMSB="False",
    )  # fmt: skip
    image = read_image(path)
    assert image.grid.spacing_mm == (2.0, 1.0, 1.0)
    assert image.grid.affine[:3, 3].tolist() == [-10, -20, 30]
    assert image.array.ravel().tolist() == list(range(24))


def test_bytes_are_known_by_the_header():
    assert stores_bytes(b"ElementType = MET_UCHAR")
    assert not stores_bytes(b"ElementType = MET_USHORT")
