from __future__ import annotations

import gzip
import itertools
import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.errors import GeometryError, InputError, NnStudentError, OutputError
from nnstudent.io.nifti import (
    is_image,
    read_grid,
    read_image,
    read_labels,
    stem,
    write_image,
    write_labels,
)
from nnstudent.volume import Grid, Volume

AXCODES = [
    "".join(codes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]
SHAPE = (4, 5, 6)  # z, y, x


def oblique(
    axcodes: str = "RAS",
    *,
    degrees: float = 0.0,
    spacing: tuple[float, float, float] = (0.8, 0.9, 2.5),
) -> np.ndarray:
    """An affine with these axes, turned about the long axis and then about the left-right axis."""
    basis = {
        "R": (1, 0, 0),
        "L": (-1, 0, 0),
        "A": (0, 1, 0),
        "P": (0, -1, 0),
        "S": (0, 0, 1),
        "I": (0, 0, -1),
    }
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([basis[code] for code in axcodes], float).T * spacing
    affine[:3, 3] = (-120.5, 33.25, -400.125)
    return affine


def ct(
    path: Path,
    affine: np.ndarray | None = None,
    *,
    dtype: type = np.int16,
    shape: tuple[int, ...] = SHAPE[::-1],
) -> np.ndarray:
    """A CT with a different value in each voxel, stored (x, y, z); returns what was stored."""
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype) - (
        1000 if np.dtype(dtype).kind in "if" else 0
    )
    nib.save(nib.Nifti1Image(values.astype(dtype), oblique() if affine is None else affine), path)
    return values.astype(dtype)


@pytest.mark.parametrize("degrees", [0.0, 17.0])
@pytest.mark.parametrize("axcodes", AXCODES)
def test_labels_return_on_the_grid_they_came_from(tmp_path, axcodes, degrees):
    affine = oblique(axcodes, degrees=degrees)
    stored = ct(tmp_path / "ct.nii.gz", affine)
    image = read_image(tmp_path / "ct.nii.gz")
    assert image.array.shape == SHAPE
    assert image.array.dtype == np.int16
    assert image.grid.axcodes == axcodes
    assert np.array_equal(image.array, stored.T)
    upright = image.reoriented("RAS")
    made = Volume((upright.array % 14).astype(np.uint8), upright.grid).reoriented(axcodes)
    write_labels(tmp_path / "out" / "labels.nii.gz", made, like=tmp_path / "ct.nii.gz")
    back = nib.load(tmp_path / "out" / "labels.nii.gz")
    assert back.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(back.dataobj), stored % 14)
    assert np.array_equal(back.affine, nib.load(tmp_path / "ct.nii.gz").affine)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (4, 3), (0, 0)])
def test_header_is_carried_over(tmp_path, sform, qform):
    image = nib.Nifti1Image(
        np.zeros(SHAPE[::-1], np.int16) - 1000, oblique(degrees=0 if not (sform or qform) else 8)
    )
    image.header["descrip"] = b"somewhere in Europe"
    image.set_sform(image.affine, sform)
    image.set_qform(image.affine, qform)
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_min"], image.header["cal_max"] = -160, 240
    image.header.set_slope_inter(1, 0)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept by the scanner"))
    nib.save(image, tmp_path / "ct.nii.gz")
    source = read_image(tmp_path / "ct.nii.gz")
    write_labels(
        tmp_path / "l.nii.gz",
        Volume(np.full(SHAPE, 14, np.uint8), source.grid),
        like=tmp_path / "ct.nii.gz",
    )
    before, after = nib.load(tmp_path / "ct.nii.gz"), nib.load(tmp_path / "l.nii.gz")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (sform, qform)
    assert np.array_equal(before.get_sform(), after.get_sform())
    assert np.array_equal(before.get_qform(), after.get_qform())
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert bytes(after.header["descrip"]).rstrip(b"\0") == b"somewhere in Europe"
    assert (float(after.header["cal_min"]), float(after.header["cal_max"])) == (
        0,
        0,
    )  # a CT's window would show labels black
    assert np.all(np.asarray(after.dataobj) == 14)


def test_scaled_labels_template_does_not_scale_the_labels(tmp_path):
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.uint16), oblique())
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, tmp_path / "ct.nii")
    source = read_image(tmp_path / "ct.nii")
    assert np.all(source.array == -1024)
    write_labels(
        tmp_path / "l.nii",
        Volume(np.full(SHAPE, 3, np.uint8), source.grid),
        like=tmp_path / "ct.nii",
    )
    assert np.all(read_labels(tmp_path / "l.nii").array == 3)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.uint8, np.int16),
        (np.int16, np.int16),
        (np.int32, np.int16),
        (np.uint16, np.int16),
        (np.float32, np.float32),
        (np.float64, np.float32),
    ],
)
def test_stored_types(tmp_path, dtype, kept):
    stored = ct(tmp_path / "a.nii.gz", dtype=dtype)
    image = read_image(tmp_path / "a.nii.gz")
    assert image.array.dtype == kept
    assert image.array.flags.c_contiguous
    assert np.array_equal(image.array, stored.T)


def test_large_integers_are_not_wrapped(tmp_path):
    nib.save(nib.Nifti1Image(np.full((3, 3, 3), 60000, np.uint16), np.eye(4)), tmp_path / "a.nii")
    assert np.all(read_image(tmp_path / "a.nii").array == 60000)


def test_big_endian_and_four_dimensions_of_one(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    values = np.arange(24, dtype=">i2").reshape(2, 3, 4, 1)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "a.nii")
    assert np.array_equal(read_image(tmp_path / "a.nii").array, values[..., 0].T)


def test_images_written_are_read_back(tmp_path):
    grid = Grid(SHAPE, oblique("LPS", degrees=9))
    made = Volume(np.arange(120, dtype=np.int16).reshape(SHAPE) - 1024, grid)
    write_image(tmp_path / "a.nii.gz", made)
    back = read_image(tmp_path / "a.nii.gz")
    assert back.grid.matches(grid)
    assert np.array_equal(back.array, made.array)
    assert int(nib.load(tmp_path / "a.nii.gz").header["sform_code"]) == 1


def _save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def _truncated_gz(path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    _save(path, values)
    path.write_bytes(path.read_bytes()[:5000])


def _truncated_plain(path: Path) -> None:
    _save(path.with_name("whole.nii"), np.zeros((20, 20, 20), np.int16))
    path.write_bytes(path.with_name("whole.nii").read_bytes()[:2000])


def _damaged_gz(path: Path) -> None:
    _save(path, np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    data = bytearray(path.read_bytes())
    data[6000:6040] = bytes(40)
    path.write_bytes(data)


def _endless(path: Path) -> None:
    _save(path, np.zeros((4, 4, 4), np.int16))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(3 << 20)))


def _nan(path: Path) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = np.nan
    _save(path, array)


def _disagreeing_forms(path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.diag([-1.0, -1.0, 1.0, 1.0]), 1)
    nib.save(image, path)


def _no_place(path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header["srow_z"] = np.nan
    image.header["sform_code"] = 1
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None, image.header)
    nib.save(image, path)


def _skewed(path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(20))
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine)
    image.set_qform(None, 0)
    nib.save(image, path)


BROKEN = {
    "empty.nii.gz": (lambda p: p.write_bytes(b""), "is empty"),
    "text.nii.gz": (lambda p: p.write_text("not an image\n" * 50), "cannot be opened as an image"),
    "gzipped_text.nii.gz": (
        lambda p: p.write_bytes(gzip.compress(b"not an image\n" * 50)),
        "cannot be opened as an image",
    ),
    "truncated.nii.gz": (_truncated_gz, "the file is truncated or damaged"),
    "truncated.nii": (_truncated_plain, "the file is truncated or damaged"),
    "damaged.nii.gz": (_damaged_gz, "the file is truncated or damaged"),
    "endless.nii.gz": (_endless, "more follows than its header states"),
    "folder.nii.gz": (lambda p: p.mkdir(), "is a folder"),
    "flat.nii.gz": (
        lambda p: _save(p, np.zeros((8, 8), np.int16)),
        "is 2D (8×8); expected one 3D volume",
    ),
    "slice.nii.gz": (lambda p: _save(p, np.zeros((8, 8, 1), np.int16)), "expected one 3D volume"),
    "time.nii.gz": (
        lambda p: _save(p, np.zeros((4, 4, 4, 2), np.int16)),
        "is 4D (4×4×4×2); expected one 3D volume",
    ),
    "nan.nii.gz": (_nan, "1 of 64 voxels are NaN or infinite"),
    "thin.nii.gz": (
        lambda p: _save(p, np.zeros((4, 4, 4), np.int16), np.diag([0.001, 1, 1, 1])),
        "expected a spacing of 0.05 to 20 mm",
    ),
    "thick.nii.gz": (
        lambda p: _save(p, np.zeros((4, 4, 4), np.int16), np.diag([1, 1, 500, 1])),
        "expected a spacing of 0.05 to 20 mm",
    ),
    "nowhere.nii.gz": (_no_place, "not a finite, invertible"),
    "forms.nii.gz": (_disagreeing_forms, "sform and qform place the image differently"),
    "skewed.nii.gz": (_skewed, "its axes stand at 70° to each other"),
    "complex.nii.gz": (
        lambda p: _save(p, np.zeros((4, 4, 4), np.complex64)),
        "expected one number per voxel",
    ),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    make, said = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(InputError) as error:
        read_image(tmp_path / name)
    text = str(error.value)
    assert said in text
    assert str(tmp_path / name) in text
    assert "\n" not in text


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_grid(tmp_path / "none.nii.gz")


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_flipped_header_bytes_never_end_in_another_error(tmp_path):
    """Whatever a header says, it is read or it is refused."""
    _save(
        tmp_path / "a.nii",
        np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16),
        np.diag([1, 2, 3, 1]),
    )
    whole = (tmp_path / "a.nii").read_bytes()
    chance = random.Random(20)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 4))):
            data[chance.randrange(352)] = chance.randrange(256)
        (tmp_path / "b.nii").write_bytes(data)
        for read in (read_image, read_labels, read_grid):
            try:
                read(tmp_path / "b.nii")
            except NnStudentError:
                refused += 1
    assert refused > 250


def test_float_labels_with_whole_values_are_labels(tmp_path):
    _save(tmp_path / "l.nii.gz", np.full((3, 3, 3), 13.0, np.float32))
    labels = read_labels(tmp_path / "l.nii.gz")
    assert labels.array.dtype == np.uint8
    assert np.all(labels.array == 13)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(0.5, np.float32), (np.nan, np.float32), (-1, np.int16), (256, np.int16), (1e30, np.float32)],
)
def test_values_that_are_not_labels_are_refused(tmp_path, value, dtype):
    array = np.zeros((3, 3, 3), dtype)
    array[1, 1, 1] = value
    _save(tmp_path / "l.nii.gz", array)
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
        read_labels(tmp_path / "l.nii.gz")


def test_labels_on_another_grid_are_not_written(tmp_path):
    ct(tmp_path / "ct.nii.gz")
    grid = Grid(SHAPE, oblique(spacing=(0.8, 0.9, 2.4)))
    with pytest.raises(GeometryError):
        write_labels(
            tmp_path / "l.nii.gz",
            Volume(np.zeros(SHAPE, np.uint8), grid),
            like=tmp_path / "ct.nii.gz",
        )
    assert not (tmp_path / "l.nii.gz").exists()


def test_output_name_must_be_nifti(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.nii"):
        write_image(tmp_path / "a.png", Volume(np.zeros(SHAPE, np.int16), Grid(SHAPE, np.eye(4))))


@pytest.mark.parametrize("place", ["file/a.nii.gz", "file/deep/er/a.nii.gz"])
def test_unwritable_output(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / place, Volume(np.zeros(SHAPE, np.int16), Grid(SHAPE, np.eye(4))))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(b"what was there")

    def fails_half_way(image, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", fails_half_way)
    with pytest.raises(OutputError, match="No space left"):
        write_image(
            tmp_path / "a.nii.gz", Volume(np.zeros(SHAPE, np.int16), Grid(SHAPE, np.eye(4)))
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.nii.gz": b"what was there"
    }


def test_names():
    assert is_image(Path("a/CASE.NII.GZ"))
    assert not is_image(Path("a/._case.nii.gz"))
    assert not is_image(Path("a/case.png"))
    assert stem(Path("a/case.1.nii.gz")) == "case.1"


def test_real_ct_round_trip(real_data, tmp_path):
    path = real_data / "cptac_C3L-00189" / "ct.nii.gz"
    image = read_image(path)
    labels = read_labels(path.with_name("label.nii.gz"))
    assert labels.grid.matches(image.grid)
    write_labels(tmp_path / "l.nii.gz", labels, like=path)
    assert np.array_equal(read_labels(tmp_path / "l.nii.gz").array, labels.array)
