"""NRRD and MetaImage: read as SimpleITK, the format's own library, reads and writes them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.metaimage import write_metaimage
from nnstudent.io.nifti import read_grid, read_image, read_labels
from nnstudent.io.nrrd import write_nrrd
from nnstudent.io.stored import StoredImage, data_beside
from nnstudent.volume import Grid, Volume

sitk = pytest.importorskip("SimpleITK", reason="the extra [mha] is not installed")

TURNS = [np.eye(3), np.diag([-1.0, 1.0, -1.0]), np.eye(3)[[2, 0, 1]], np.eye(3)[[1, 0, 2]]]


def itk_image(kind: str = "i2", turn: int = 0):
    rng = np.random.default_rng(7)
    array = rng.integers(0, 120, (4, 5, 6)).astype(kind)
    if kind == "i2":
        array[0, 0, 0] = -1000
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.5, 34.0, -100.25))
    image.SetDirection(TURNS[turn].ravel().tolist())
    return image, array


def places(image) -> np.ndarray:
    """Corners in RAS as SimpleITK places them."""
    size = np.array(image.GetSize()) - 1
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    lps = [image.TransformIndexToPhysicalPoint((np.array(c) * size).tolist()) for c in corners]
    return np.array(lps) * (-1, -1, 1)


def our_places(grid: Grid) -> np.ndarray:
    size = np.array(grid.shape[::-1]) - 1
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return np.array([(grid.affine @ [*(np.array(c) * size), 1])[:3] for c in corners])


@pytest.mark.parametrize("turn", range(len(TURNS)))
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_what_simpleitk_writes_is_read_with_its_geometry(tmp_path, ending, packed, turn):
    image, array = itk_image("i2", turn)
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(image, str(path), useCompression=packed)
    volume = read_image(path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, array)
    assert np.allclose(our_places(volume.grid), places(image), atol=1e-4)
    assert read_grid(path).matches(volume.grid)
    assert volume.warnings == ()


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_every_type_of_voxel(tmp_path, ending, kind):
    image, array = itk_image(kind)
    sitk.WriteImage(image, str(tmp_path / f"ct{ending}"))
    assert np.array_equal(read_image(tmp_path / f"ct{ending}").array, array)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_what_is_written_simpleitk_reads_with_the_same_geometry(tmp_path, ending, turn):
    image, _ = itk_image("u1", turn)
    sitk.WriteImage(image, str(tmp_path / f"in{ending}"))
    labels = read_labels(tmp_path / f"in{ending}")
    write = write_nrrd if ending == ".nrrd" else write_metaimage
    write(tmp_path / f"out{ending}", labels)
    again = sitk.ReadImage(str(tmp_path / f"out{ending}"))
    assert np.array_equal(sitk.GetArrayFromImage(again), labels.array)
    assert np.allclose(places(again), places(image), atol=1e-6)
    assert again.GetPixelID() == sitk.sitkUInt8


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_one_line_or_the_same_image(tmp_path, data):
    """Whatever bytes change or are cut off, what comes is our error or an image of the size."""
    ending = data.draw(st.sampled_from([".nrrd", ".mha"]))
    image, _ = itk_image()
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(image, str(path), useCompression=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        volume = read_image(path)
    except NnStudentError as error:
        lines, size = str(error).splitlines(), 8
    else:
        lines, size = [""], volume.array.size
    assert len(lines) == 1
    assert size >= 8


def test_voxels_elsewhere_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(1000))
    (tmp_path / "in").mkdir()
    for name in ("../secret", str(tmp_path / "secret"), "LIST", "none.raw", "a\\b"):
        with pytest.raises(InputError, match=r"its voxels are in"):
            data_beside(tmp_path / "in" / "ct.mhd", name)


def test_more_or_fewer_voxels_than_stated_are_refused(tmp_path):
    image, _ = itk_image()
    path = tmp_path / "ct.mha"
    sitk.WriteImage(image, str(path))
    whole = path.read_bytes()
    for content, said in ((whole[:-1], "the file has|missing"), (whole + b"xx", "more follows")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_image(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "ct.mha"
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 60000 60000 60000\nElementSpacing = 1 1 1\n"
        "CompressedData = True\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + zlib.compress(bytes(100_000)))
    with pytest.raises(InputError, match="its header states"):
        read_image(path)


def test_the_size_of_the_voxels_is_that_of_the_type():
    image = StoredImage(Path("x"), (2, 3, 4), np.eye(4), np.dtype("<i2"), Path("x"))
    assert image.nbytes == 48


def test_an_image_without_a_direction_says_so(tmp_path):
    path = tmp_path / "ct.nrrd"
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nspacings: 1 1 2\nencoding: raw\n\n"
    path.write_bytes(text.replace("encoding", "endian: little\nencoding").encode() + bytes(48))
    (warning,) = read_image(path).warnings
    assert "does not state the orientation" in warning
    assert read_grid(path).spacing_mm == (2.0, 1.0, 1.0)


def test_a_metaimage_is_written_whole(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.mha"):
        write_metaimage(
            tmp_path / "x.mhd", Volume(np.zeros((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)))
        )
    assert not list(tmp_path.iterdir())
