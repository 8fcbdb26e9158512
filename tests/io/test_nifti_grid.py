"""A header that contradicts itself is refused; what it leaves open is a warning."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_grid, read_image, read_labels, write_labels
from nnstudent.volume import Grid, Volume

AFFINE = np.array([[-0.8, 0, 0, 90], [0, -0.9, 0, 80], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])
SHAPE = (11, 13, 7)  # x, y, z


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def changed(
    path: Path,
    change: Callable[[Any], None],
    *,
    sform: int = 1,
    qform: int = 1,
    kind: Any = nib.Nifti1Image,
) -> Path:
    """A NIfTI file whose header says something else than nibabel would write."""
    image = kind(values(), AFFINE)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    data = bytearray(image.to_bytes())
    size = image.header.template_dtype.itemsize
    header = type(image.header)(bytes(data[:size]), check=False)
    change(header._structarr)
    data[:size] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(data)) if path.name.endswith(".gz") else bytes(data))
    return path


def pixdim(*sizes: float) -> Callable[[Any], None]:
    return lambda fields: fields["pixdim"].__setitem__(slice(1, 4), sizes)


def dim(axis: int, size: int) -> Callable[[Any], None]:
    return lambda fields: fields["dim"].__setitem__(axis, size)


def units(code: int, factor: float) -> Callable[[Any], None]:
    """Lengths in another unit: the code, and the numbers divided by so many mm."""

    def change(fields: Any) -> None:
        fields["xyzt_units"] = code
        fields["pixdim"][1:4] /= factor
        for name in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"):
            fields[name] /= factor

    return change


CONTRADICTIONS = {
    "a row too short": (dim(1, SHAPE[0] - 1), {}, "more follows than its header states"),
    "a slice too few": (dim(3, SHAPE[2] - 1), {}, "more follows than its header states"),
    "a column too many": (dim(2, SHAPE[1] + 1), {}, "truncated or damaged"),
    "a bomb": (
        lambda f: f["dim"].__setitem__(slice(1, 4), 32000),
        {},
        "65,536,000,000,000 bytes of voxels, but the file has",
    ),
    "voxel size against sform": (
        pixdim(1.6, 1.8, 5),
        {"qform": 0},
        "voxel size 1.6×1.8×5 in pixdim and 0.8×0.9×2.5 in the sform",
    ),
    "no voxel size": (pixdim(0, 0.9, 2.5), {"sform": 0}, "voxel size 0×0.9×2.5"),
    "voxel size nan": (pixdim(np.nan, 0.9, 2.5), {"sform": 0}, "invertible"),
    "metres that are mm": (lambda f: f.__setitem__("xyzt_units", 1), {}, "0.8×0.9×2.5 metres"),
    "micrometres that are mm": (
        lambda f: f.__setitem__("xyzt_units", 3),
        {},
        "0.8×0.9×2.5 micrometres",
    ),
    "far apart": (pixdim(0.8, 0.9, 30), {"sform": 0}, "expected a spacing of 0.05 to 20 mm"),
    "offset not a number": (
        lambda f: (f.__setitem__("scl_slope", 2), f.__setitem__("scl_inter", np.nan)),
        {},
        "invalid intercept",
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused(tmp_path, name, suffix):
    change, codes, said = CONTRADICTIONS[name]
    path = changed(tmp_path / f"ct{suffix}", change, **codes)
    with pytest.raises(InputError) as error:
        read_image(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


GUESSES = {
    "no orientation": (lambda f: None, {"sform": 0, "qform": 0}, "does not state the orientation"),
    "codes that there are not": (
        lambda f: f.__setitem__("sform_code", 77),
        {"qform": 0},
        "does not state the orientation",
    ),
    "negative voxel size": (pixdim(-0.8, 0.9, 2.5), {"sform": 0}, "the signs are ignored"),
    "voxel size not filled in": (
        pixdim(1, 1, 1),
        {"qform": 0},
        "1×1×1 in pixdim and 0.8×0.9×2.5 in the sform",
    ),
    "voxel size 0 beside sform": (pixdim(0, 0, 0), {"qform": 0}, "the sform is used"),
    "metres": (units(1, 1000), {}, "lengths in metres"),
    "micrometres": (units(3, 0.001), {}, "lengths in micrometres"),
    "scale not a number": (
        lambda f: f.__setitem__("scl_slope", np.nan),
        {},
        "scale of the values as nan",
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", GUESSES)
def test_guesses_are_warnings_and_labels_still_fit(tmp_path, name, kind):
    change, codes, said = GUESSES[name]
    path = changed(tmp_path / "ct.nii.gz", change, kind=kind, **codes)
    image = read_image(path)
    assert [said in line for line in image.warnings] == [True]
    assert image.grid.spacing_mm == pytest.approx((2.5, 0.9, 0.8), rel=1e-5)
    assert np.array_equal(image.array.T, values())
    write_labels(
        tmp_path / "labels.nii.gz",
        Volume((image.array > 0).astype(np.uint8), image.grid),
        like=path,
    )
    assert read_grid(tmp_path / "labels.nii.gz").matches(image.grid)


def test_a_stated_orientation_is_not_a_guess(tmp_path):
    for codes in ((1, 1), (2, 0), (0, 1)):
        path = changed(tmp_path / "ct.nii.gz", lambda fields: None, sform=codes[0], qform=codes[1])
        assert read_image(path).warnings == ()
        assert read_labels_warnings(tmp_path, codes) == ()


def read_labels_warnings(folder: Path, codes: tuple[int, int]) -> tuple[str, ...]:
    image = nib.Nifti1Image((values() > 0).astype(np.uint8), AFFINE)
    image.set_sform(AFFINE, codes[0])
    image.set_qform(AFFINE, codes[1])
    nib.save(image, folder / "labels.nii.gz")
    return read_labels(folder / "labels.nii.gz").warnings


@pytest.mark.parametrize(("degrees", "warned"), [(0.0, False), (0.3, False), (3.0, True)])
def test_a_slight_tilt_is_a_warning(tmp_path, degrees, warned):
    affine = AFFINE.copy()
    affine[1, 2] = 2.5 * np.tan(np.radians(degrees))
    image = nib.Nifti1Image(values(), affine)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    nib.save(image, tmp_path / "ct.nii.gz")
    assert (
        any("off right angles" in line for line in read_image(tmp_path / "ct.nii.gz").warnings)
        == warned
    )


def test_formats_without_an_orientation_are_told(tmp_path):
    nib.save(nib.AnalyzeImage(values(), np.diag([0.8, 0.9, 2.5, 1])), tmp_path / "ct.img")
    for name in ("ct.img", "ct.hdr"):
        image = read_image(tmp_path / name)
        assert "does not state the orientation" in image.warnings[0]
        assert np.array_equal(image.array.T, values())
    mgh = bytearray(nib.MGHImage(values(), AFFINE).to_bytes())
    (tmp_path / "a.mgh").write_bytes(mgh)
    assert read_image(tmp_path / "a.mgh").warnings == ()
    mgh[28:30] = b"\0\0"
    (tmp_path / "a.mgh").write_bytes(mgh)
    assert "does not state the orientation" in read_image(tmp_path / "a.mgh").warnings[0]


def test_a_pair_of_nifti_files_is_one_image(tmp_path):
    nib.save(nib.Nifti1Pair(values(), AFFINE), tmp_path / "ct.img")
    for name in ("ct.img", "ct.hdr"):
        image = read_image(tmp_path / name)
        assert image.warnings == ()
        assert np.array_equal(image.array.T, values())


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(2, 9)] * 3),
    told=st.tuples(*[st.integers(2, 9)] * 3),
    seed=st.integers(0, 9),
)
def test_voxels_are_complete_or_refused_for_any_stated_size(tmp_path_factory, sizes, told, seed):
    array = np.random.default_rng(seed).integers(1, 1000, sizes).astype(np.int16)
    data = bytearray(nib.Nifti1Image(array, np.eye(4)).to_bytes())
    header = nib.Nifti1Header(bytes(data[:348]))
    header["dim"][1:4] = told
    data[:348] = header.binaryblock
    path = tmp_path_factory.mktemp("sizes") / "ct.nii"
    path.write_bytes(data)
    if np.prod(told) == np.prod(sizes):
        assert (
            read_image(path).array.size == array.size
        )  # the same bytes: nothing tells the two apart
        return
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(path)


def test_images_are_recognized_by_their_content(tmp_path):
    """Compressed or not, whatever the name says."""
    plain = nib.Nifti1Image(values(), AFFINE).to_bytes()
    packed = gzip.compress(plain)
    for name, data in {
        "a.nii": packed,
        "b.nii.gz": plain,
        "c": plain,
        "d.dat": packed,
        "E.NII.GZ": packed,
        "f.mgz": plain,
    }.items():
        (tmp_path / name).write_bytes(data)
        image = read_image(tmp_path / name)
        assert np.array_equal(image.array.T, values()), name
        assert image.grid.matches(Grid(SHAPE[::-1], AFFINE))
        write_labels(
            tmp_path / "out.nii.gz",
            Volume((image.array > 0).astype(np.uint8), image.grid),
            like=tmp_path / name,
        )


def test_paths_that_are_not_files_are_named(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(InputError, match="pipe or device"):
        read_image(tmp_path / "pipe.nii.gz")
    (tmp_path / "x.nii.gz").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(InputError, match="is a DICOM file; give the folder"):
        read_image(tmp_path / "x.nii.gz")
    (tmp_path / "x.nii.gz").write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match="its sizes are"):
        read_image(tmp_path / "x.nii.gz")
