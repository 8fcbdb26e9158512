"""Surfaces beside a segmentation."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError, MissingExtraError
from nnstudent.inference.files import meshes
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels

trimesh = pytest.importorskip("trimesh", reason="the extra [mesh] is not installed")
pytest.importorskip("skimage", reason="the extra [mesh] is not installed")


@pytest.mark.parametrize("kind", ["glb", "stl"])
@pytest.mark.parametrize("split", [False, True])
def test_they_lie_beside_the_labels_and_have_their_volumes(scans, tmp_path, isotropic, kind, split):
    out = tmp_path / "out"
    segmenter = Segmenter(isotropic, threads=1)
    result = segment_files(scans, out, segmenter, options=Options(mesh=kind, split=split))
    assert result.failures == ()
    root = out / "a" if split else out
    if kind == "glb":
        files = [root / ("mesh.glb" if split else "a.glb")]
        found = trimesh.load(files[0])
        bodies = {name: mesh.volume for name, mesh in found.geometry.items()}  # in mm, as stored
    else:
        files = sorted((root / "meshes" if split else root / "meshes" / "a").iterdir())
        bodies = {path.stem: trimesh.load(path).volume for path in files}
    assert set(map(str, files)) <= set(result.rows[0]["files"])
    assert bodies
    for name in segmenter.model.classes:
        path = root / f"{name}.nii.gz" if split else root / "a.nii.gz"
        labels = read_labels(path)
        id = 1 if split else segmenter.taxonomy[name].id
        voxels = np.count_nonzero(labels.array == id)
        assert (name in bodies) == (voxels > 0)
        if voxels:
            assert bodies[name] / 1000 == pytest.approx(voxels * labels.grid.voxel_ml, rel=0.01)


def test_where_nothing_is_found_the_labels_are_written_and_the_surfaces_named(
    scans, tmp_path, isotropic, monkeypatch
):
    from nnstudent.inference.files import segment

    def nothing(path, labels, **options):
        empty = type(labels)(np.zeros_like(labels.array), labels.grid)
        return meshes.write_mesh(path, empty, **options)

    monkeypatch.setattr(segment, "write_mesh", nothing)
    out = tmp_path / "out"
    result = segment_files(scans, out, Segmenter(isotropic, threads=1), options=Options(mesh="glb"))
    assert "no class was found" in result.failures[0].reason
    assert str(out / "a.nii.gz") in result.failures[0].reason
    assert (out / "a.nii.gz").is_file()
    assert not list(tmp_path.rglob("*.glb"))


def test_a_missing_library_is_named_before_any_work(scans, tmp_path, isotropic, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingExtraError, match=r"nnstudent\[mesh\]"):
        segment_files(scans, tmp_path / "out", isotropic, options=Options(mesh="stl"))
    assert not (tmp_path / "out").exists()


def test_only_known_kinds_are_accepted():
    with pytest.raises(InputError, match="'obj'; expected one of stl, glb"):
        meshes.check_mesh("obj")
    meshes.check_mesh(None)
