"""Files that every NIfTI reader reads alike, and files that only ours understands."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.io.nifti import is_standard_nifti, read_grid, read_header_spacing

SPACING = (2.5, 0.9, 0.8)  # z, y, x


def image(*, shape: tuple[int, ...] = (4, 5, 6)) -> nib.Nifti1Image:
    affine = np.diag([-0.8, -0.9, 2.5, 1.0])
    made = nib.Nifti1Image(np.full(shape, 40, np.int16), affine)
    made.set_qform(affine, 1)
    made.header.set_xyzt_units("mm", "sec")
    return made


def packed(path: Path) -> Path:
    path.write_bytes(gzip.compress(image().to_bytes()))
    return path


def plain(path: Path) -> Path:
    path.write_bytes(image().to_bytes())
    return path


def in_metres(path: Path) -> Path:
    made = image()
    affine = made.affine.copy()
    affine[:3] /= 1000
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    made.header.set_xyzt_units("meter", "sec")
    nib.save(made, path)
    return path


def four_dimensions(path: Path) -> Path:
    nib.save(image(shape=(4, 5, 6, 1)), path)
    return path


def placeholder_pixdim(path: Path) -> Path:
    made = image()
    made.set_qform(None, 0)
    made.header["pixdim"][1:4] = 1
    nib.save(made, path)
    return path


def mgh(path: Path) -> Path:
    made = nib.MGHImage(np.full((4, 5, 6), 40, np.int16), image().affine)
    path.write_bytes(gzip.compress(made.to_bytes()))
    return path


@pytest.mark.parametrize(
    ("store", "name", "standard"),
    [
        (plain, "ct.nii", True),
        (packed, "ct.nii.gz", True),
        (packed, "CT.NII.GZ", True),
        (packed, "ct.nii", False),
        (plain, "ct.nii.gz", False),
        (plain, "ct.img", False),
        (packed, "ct.mgz", False),
        (mgh, "ct.nii.gz", False),
        (in_metres, "ct.nii.gz", False),
        (four_dimensions, "ct.nii.gz", False),
        (placeholder_pixdim, "ct.nii.gz", False),
    ],
)
def test_files_that_only_our_reader_understands_are_not_standard(tmp_path, store, name, standard):
    path = store(tmp_path / name)
    assert np.allclose(read_grid(path).spacing_mm, SPACING)  # ours reads each of them
    assert is_standard_nifti(path) == standard


@pytest.mark.parametrize(("store", "name"), [(plain, "ct.nii.gz"), (packed, "ct.nii")])
def test_the_header_spacing_does_not_depend_on_the_name(tmp_path, store, name):
    spacing = read_header_spacing(store(tmp_path / name))
    assert spacing == tuple(float(np.float32(mm)) for mm in SPACING)


def test_the_header_spacing_is_the_field_and_not_the_affine(tmp_path):
    assert read_header_spacing(placeholder_pixdim(tmp_path / "ct.nii.gz")) == (1.0, 1.0, 1.0)
