"""What a file holds, by its first bytes."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from nnstudent.io.content import content_of, head_of, is_compressed


@pytest.mark.parametrize("kind", ["nifti1", "nifti2", "mgh"])
def test_an_image_is_known_under_any_name_compressed_or_not(tmp_path, kind) -> None:
    make = {"nifti1": nib.Nifti1Image, "nifti2": nib.Nifti2Image, "mgh": nib.MGHImage}[kind]
    image = make(np.zeros((3, 4, 5), np.float32), np.eye(4))
    plain, packed = tmp_path / "plain.txt", tmp_path / "packed"
    plain.write_bytes(image.to_bytes())
    packed.write_bytes(gzip.compress(image.to_bytes()))
    expected = "mgh" if kind == "mgh" else "nifti"
    assert (content_of(plain), content_of(packed)) == (expected, expected)
    assert (is_compressed(plain), is_compressed(packed)) == (False, True)
    assert head_of(plain) == head_of(packed)


@pytest.mark.parametrize(
    ("name", "start", "content"),
    [
        ("a", bytes(128) + b"DICM", "dicom"),
        ("a.nii", b"NRRD0004\n", "nrrd"),
        ("a.nii.gz", b"ObjectType = Image\nNDims = 3\n", "metaimage"),
        ("a.txt", b"Comment = a list of what I saw\n", "other"),
        ("a.nii.gz", b"PK\x03\x04", "zip"),
        ("a.hdr", b"\x5c\x01\0\0" + bytes(400), "analyze"),
        ("a.img", b"\x5c\x01\0\0" + bytes(400), "other"),
        ("a.mnc", b"\x89HDF" + bytes(40), "minc"),
        ("a.nii.gz", b"", "other"),
        ("a.nii.gz", b"\x1f\x8b no gzip at all", "other"),
        ("a.nii", b"a text that happens to end in .nii", "other"),
    ],
)
def test_the_name_decides_only_where_the_bytes_cannot(tmp_path, name, start, content) -> None:
    path = tmp_path / name
    path.write_bytes(start)
    assert content_of(path) == content
