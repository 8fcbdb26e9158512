"""Surfaces are closed, lie where the voxels lie, and have their volume."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from nnstudent.errors import MissingExtraError
from nnstudent.inference.labels.surfaces import surfaces_of
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

trimesh = pytest.importorskip("trimesh", reason="the extra [mesh] is not installed")
pytest.importorskip("skimage", reason="the extra [mesh] is not installed")

TABLE = flare23()


def closed(surface) -> float:
    """The volume in ml of a surface that is closed and whose triangles all look outward."""
    mesh = trimesh.Trimesh(surface.vertices, surface.triangles, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    return float(mesh.volume) / 1000


@given(
    seed=st.integers(0, 2**31),
    spacing=st.tuples(*[st.floats(0.5, 6.0)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    roughness=st.floats(0.0, 1.5),
    filled=st.floats(0.05, 0.6),
)
@settings(max_examples=15, deadline=None)
def test_the_surface_of_any_mask_is_closed_and_has_its_volume(
    seed, spacing, flips, roughness, filled
):
    noise = np.random.default_rng(seed).normal(size=(9, 10, 11))
    noise = ndimage.gaussian_filter(noise, roughness)
    array = (noise > np.quantile(noise, 1 - filled)).astype(np.uint8)
    grid = Grid(array.shape, np.diag([*(np.array(spacing) * flips), 1.0]))
    (surface,) = surfaces_of(Volume(array, grid), taxonomy=TABLE)
    assert surface.name == "liver"
    assert closed(surface) == pytest.approx(array.sum() * grid.voxel_ml, rel=0.005)


def balls(spacing_mm: tuple[float, float, float], *, axcodes: str) -> Volume:
    """A liver of 45 mm on the right, a spleen of 25 mm on the left, and a lone voxel of spleen."""
    z, y, x = (np.arange(round(200 / mm)) * mm - 100 for mm in spacing_mm)
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    array = np.zeros(z.shape, np.uint8)
    array[(x - 45) ** 2 + y**2 + z**2 < 45**2] = TABLE["liver"].id
    array[(x + 50) ** 2 + (y + 10) ** 2 + z**2 < 25**2] = TABLE["spleen"].id
    array[2, 2, 2] = TABLE["spleen"].id
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = [-100, -100, -100]
    return Volume(array, Grid(array.shape, affine)).reoriented(axcodes)


@pytest.mark.parametrize(
    ("spacing_mm", "axcodes"),
    [((1.0, 0.8, 0.8), "RAS"), ((5.0, 0.8, 0.8), "LPS"), ((3.0, 3.0, 3.0), "PIR")],
)
def test_a_ball_stays_a_smooth_ball_where_it_was(spacing_mm, axcodes):
    volume = balls(spacing_mm, axcodes=axcodes)
    liver, spleen = surfaces_of(volume, taxonomy=TABLE)
    assert (liver.color, spleen.color) == (TABLE["liver"].color, TABLE["spleen"].color)
    for surface in (liver, spleen):
        voxels = int((volume.array == TABLE[surface.name].id).sum())
        assert closed(surface) == pytest.approx(voxels * volume.grid.voxel_ml, rel=0.005)
    # In LPS the right of the patient is negative x.
    off = np.linalg.norm(liver.vertices - [-45, 0, 0], axis=1) - 45
    assert np.abs(off).max() < 0.6 * max(spacing_mm)
    # No triangle leans far away from the ball: no steps, also where slices are thick.
    mesh = trimesh.Trimesh(liver.vertices, liver.triangles, process=False)
    outward = mesh.triangles_center - [-45, 0, 0]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    lean = np.degrees(np.arccos(np.clip((outward * mesh.face_normals).sum(axis=1), -1, 1)))
    assert np.average(lean, weights=mesh.area_faces) < 10
    corner = np.array(spacing_mm[::-1]) * 2 - 100  # of the lone voxel, in RAS
    assert cKDTree(spleen.vertices).query(corner * [-1, -1, 1])[0] < max(spacing_mm)


def test_what_is_one_voxel_thin_is_not_lost():
    array = np.zeros((12, 30, 30), np.uint8)
    array[2:10, 15, 15] = 7  # a thread
    array[5, 4:26, 4] = 7  # another piece, along another axis
    volume = Volume(array, Grid(array.shape, np.diag([0.8, 0.8, 5.0, 1.0])))
    (surface,) = surfaces_of(volume, taxonomy=TABLE)
    assert closed(surface) == pytest.approx(30 * volume.grid.voxel_ml, rel=0.005)
    centers = np.argwhere(array)[:, ::-1] * [0.8, 0.8, 5.0] * [-1, -1, 1]
    far, _ = cKDTree(surface.vertices).query(centers)
    assert far.max() < 3.0  # half a slice


def test_a_hollow_has_an_inner_surface():
    array = np.zeros((20, 20, 20), np.uint8)
    array[3:17, 3:17, 3:17] = 1
    array[8:12, 8:12, 8:12] = 0
    volume = Volume(array, Grid(array.shape, np.diag([2.0, 2.0, 2.0, 1.0])))
    (surface,) = surfaces_of(volume, taxonomy=TABLE)
    mesh = trimesh.Trimesh(surface.vertices, surface.triangles, process=False)
    assert len(mesh.split(only_watertight=True)) == 2
    assert closed(surface) == pytest.approx((14**3 - 4**3) * 8 / 1000, rel=0.005)


def test_an_organ_that_the_image_cuts_is_closed_there():
    array = np.ones((6, 20, 20), np.uint8)
    volume = Volume(array, Grid(array.shape, np.diag([2.0, 2.0, 4.0, 1.0])))
    (surface,) = surfaces_of(volume, taxonomy=TABLE)
    assert closed(surface) == pytest.approx(array.size * 16 / 1000, rel=0.005)


def test_values_without_a_class_and_empty_maps_have_no_surface():
    array = np.zeros((4, 4, 4), np.uint8)
    assert surfaces_of(Volume(array, Grid(array.shape, np.eye(4))), taxonomy=TABLE) == ()
    array[1:3, 1:3, 1:3] = 99
    assert surfaces_of(Volume(array, Grid(array.shape, np.eye(4))), taxonomy=TABLE) == ()


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    volume = Volume(np.ones((3, 3, 3), np.uint8), Grid((3, 3, 3), np.eye(4)))
    with pytest.raises(MissingExtraError, match=r"nnstudent\[mesh\]"):
        surfaces_of(volume, taxonomy=TABLE)
