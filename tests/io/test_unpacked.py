"""Scans in archives: read, and nothing is left behind whatever the archive holds."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_image, stem, write_image
from nnstudent.io.scan import is_series, read_scan
from nnstudent.io.unpacked import held, is_archive, unpacked, unpacked_image
from nnstudent.volume import Grid, Volume

ARRAY = np.arange(120, dtype=np.int16).reshape(4, 5, 6)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where archives are unpacked."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def nifti(folder: Path, name: str = "ct.nii.gz") -> bytes:
    write_image(folder / name, Volume(ARRAY, Grid(ARRAY.shape, np.diag([1.0, 1, 2, 1]))))
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    return content


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii"])
def test_a_zipped_image_is_read_under_any_name(tmp_path, place, name):
    path = pack(tmp_path / "case7.bin", {f"a/b/{name}": nifti(tmp_path, name), "a/notes.txt": b"x"})
    assert (is_archive(path), held(path), is_series(path)) == (True, "image", False)
    assert np.array_equal(read_image(path).array, ARRAY)
    assert read_scan(path)[0].spacing_mm == (2.0, 1.0, 1.0)
    assert not list(place.iterdir())
    assert stem(Path("case7.nii.gz.zip")) == stem(Path("case7.zip")) == "case7"


def test_a_header_finds_its_voxels_in_the_archive(tmp_path, place):
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementSpacing = 1 1 2\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementType = MET_SHORT\nElementDataFile = ct.raw\n"
    )
    path = pack(tmp_path / "c.zip", {"x/ct.mhd": head.encode(), "x/ct.raw": ARRAY.tobytes()})
    assert np.array_equal(read_image(path).array, ARRAY)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../ct.nii": b"x"}, "a name that leads out of it"),
        ({"/ct.nii": b"x"}, "a name that leads out of it"),
        ({"inner.zip": b"x"}, "an archive in an archive"),
        ({"zeros": bytes(30_000_000)}, "packed"),
        ({"notes.txt": b"x"}, "an archive without an image"),
        ({"a.nii": b"two", "b.nii": b"two"}, "an archive without an image"),
    ],
)
def test_unsafe_or_empty_archives_are_refused(tmp_path, place, files, said):
    path = pack(tmp_path / "c.zip", files)
    with pytest.raises(InputError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert not list(place.iterdir())
    assert held(path) is None


def test_a_link_and_damage_are_refused(tmp_path, place):
    path = tmp_path / "c.zip"
    link = zipfile.ZipInfo("ct.nii")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="a link or a device"):
        read_image(path)
    whole = pack(path, {"ct.nii": nifti(tmp_path, "ct.nii")}).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a ZIP archive, or an incomplete one"):
        read_image(path)
    assert not list(place.iterdir())


def test_several_images_are_named_and_faults_name_the_archive(tmp_path, place):
    content = nifti(tmp_path)
    with (
        pytest.raises(InputError, match=r"an archive with a\.nii\.gz, b\.nii\.gz; expected one"),
        unpacked(pack(tmp_path / "c.zip", {"a.nii.gz": content, "b.nii.gz": content})),
    ):
        pass
    path = pack(tmp_path / "d.zip", {"a.nii.gz": content[:-20]})
    with pytest.raises(InputError, match=r"d\.zip/00000/a\.nii\.gz: .*truncated or damaged"):
        read_image(path)
    assert not list(place.iterdir())


def test_other_paths_are_left_alone(tmp_path):
    with unpacked(tmp_path) as folder, unpacked_image(tmp_path / "none") as none:
        assert (folder, none) == (tmp_path, tmp_path / "none")
