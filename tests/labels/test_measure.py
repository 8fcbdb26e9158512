"""Measures of a class beside those of SimpleITK and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnstudent.errors import GeometryError, InputError
from nnstudent.labels.measure import Measures, measure
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

LIVER, SPLEEN = flare23()["liver"].id, flare23()["spleen"].id


def volume(array: np.ndarray, *, spacing=(3.0, 0.9, 0.7), origin=(-40.0, 12.0, 300.0)) -> Volume:
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return Volume(array, Grid(array.shape, affine))


def blob(shape=(24, 60, 70), *, radii=(7.0, 20.0, 13.0), turn=0.5) -> np.ndarray:
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    u, v = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    return (z / radii[0]) ** 2 + (u / radii[1]) ** 2 + (v / radii[2]) ** 2 < 1


def only(rows: tuple[Measures, ...], name: str) -> Measures:
    return next(row for row in rows if row.name == name)


def liver(mask: np.ndarray, **options) -> Measures:
    labels = volume(mask.astype(np.uint8) * LIVER, **options)
    return only(measure(labels, taxonomy=flare23()), "liver")


def test_volume_place_and_extent_are_those_of_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    mask = blob()
    mask[2:4, 3:5, 60:64] = True
    labels = volume(mask.astype(np.uint8) * LIVER)
    image = sitk.GetImageFromArray(labels.array)
    image.SetSpacing((0.7, 0.9, 3.0))
    image.SetOrigin((-40.0, 12.0, 300.0))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    mine = only(measure(labels, taxonomy=flare23()), "liver")
    assert mine.volume_ml == pytest.approx(shape.GetPhysicalSize(LIVER) / 1000)
    assert mine.voxels == shape.GetNumberOfPixels(LIVER)
    assert mine.center_mm == pytest.approx(shape.GetCentroid(LIVER))
    box = np.array(shape.GetBoundingBox(LIVER)[3:]) * (0.7, 0.9, 3.0)
    assert mine.size_mm == pytest.approx(box)
    assert mine.pieces == 2


def test_densities_are_those_of_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(3)
    mask = blob()
    hu = rng.normal(60, 25, mask.shape).astype(np.int16)
    labels = volume(mask.astype(np.uint8) * LIVER)
    found = only(measure(labels, taxonomy=flare23(), image=volume(hu)), "liver").density
    filter = sitk.LabelIntensityStatisticsImageFilter()
    filter.Execute(sitk.GetImageFromArray(labels.array), sitk.GetImageFromArray(hu))
    assert found is not None
    assert found.mean == pytest.approx(filter.GetMean(LIVER))
    # SimpleITK divides by n - 1, as for a sample.
    n = int(mask.sum())
    assert found.sd == pytest.approx(filter.GetStandardDeviation(LIVER) * np.sqrt((n - 1) / n))
    assert (found.lowest, found.highest) == (filter.GetMinimum(LIVER), filter.GetMaximum(LIVER))
    assert found.median == pytest.approx(np.median(hu[mask]))
    assert found.percentiles == pytest.approx(np.percentile(hu[mask], (5, 25, 75, 95)))


def test_the_surface_is_that_of_scikit_image():
    measures = pytest.importorskip("skimage.measure")
    mask = blob()
    padded = np.pad(mask, 1).astype(np.float32)
    corners, faces, *_ = measures.marching_cubes(padded, 0.5, spacing=(3.0, 0.9, 0.7))
    area = measures.mesh_surface_area(corners, faces) / 100
    assert liver(mask).surface_cm2 == pytest.approx(area, rel=0.01)


def test_the_long_axis_is_that_of_scikit_image():
    measures = pytest.importorskip("skimage.measure")
    mask = blob(turn=0.3)
    # It knows square pixels only.
    mine = liver(mask, spacing=(3.0, 0.8, 0.8))
    theirs = max(
        measures.regionprops(plane.astype(np.uint8))[0].feret_diameter_max
        for plane in mask
        if plane.any()
    )
    # It draws the convex hull in pixels before it measures, which adds up to one.
    assert 0.8 * (theirs - 1) < mine.long_axis_mm <= 0.8 * theirs


def test_axes_of_a_turned_ellipse_are_its_diameters():
    mine = liver(blob((3, 200, 200), radii=(2.0, 80.0, 30.0), turn=0.7), spacing=(3.0, 0.5, 0.5))
    assert mine.long_axis_mm == pytest.approx(80, abs=1.0)
    assert mine.short_axis_mm == pytest.approx(30, abs=1.5)


def test_one_voxel_is_as_long_as_its_longer_edge():
    mask = np.zeros((3, 5, 5), bool)
    mask[1, 2, 2] = True
    mine = liver(mask)
    assert mine.long_axis_mm == pytest.approx(0.9)
    assert mine.short_axis_mm == pytest.approx(0.7)
    assert mine.touches_border is False


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_axes_hold_for_any_mask(mask):
    mine = liver(mask)
    if not mask.any():
        assert mine == Measures("liver", 0.0)
        return
    diagonal = np.hypot(0.9 * mask.shape[1], 0.7 * mask.shape[2])
    assert 0.7 - 1e-9 <= mine.short_axis_mm <= mine.long_axis_mm + 1e-9 <= diagonal + 2e-9
    assert mine.volume_ml == pytest.approx(mask.sum() * 3.0 * 0.9 * 0.7 / 1000)


@given(st.sampled_from(["LPS", "RAS", "SPL", "IRA"]))
def test_how_the_file_is_stored_changes_nothing(axcodes):
    labels = volume(blob().astype(np.uint8) * LIVER)
    one, other = (
        only(measure(item, taxonomy=flare23()), "liver")
        for item in (labels, labels.reoriented(axcodes))
    )
    assert one.center_mm == pytest.approx(other.center_mm)
    assert one.size_mm == pytest.approx(other.size_mm)
    assert one.long_axis_mm == pytest.approx(other.long_axis_mm)
    assert one.surface_cm2 == pytest.approx(other.surface_cm2)


def test_what_touches_the_border_is_flagged_with_and_without_the_image():
    array = np.zeros((10, 20, 20), np.uint8)
    array[0:4, 5:9, 5:9] = LIVER
    array[5:8, 5:9, 5:9] = SPLEEN
    labels = volume(array)
    hu = volume(np.random.default_rng(0).integers(-50, 90, array.shape).astype(np.int16))
    for image in (None, hu):
        rows = measure(labels, taxonomy=flare23(), image=image, classes=("liver", "spleen"))
        assert [row.touches_border for row in rows] == [True, False]


def test_an_image_on_another_grid_is_refused():
    labels = volume(blob().astype(np.uint8) * LIVER)
    image = volume(np.zeros(labels.array.shape, np.int16), origin=(0.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="another grid"):
        measure(labels, taxonomy=flare23(), image=image)


def test_a_class_that_is_not_in_the_table_is_refused():
    with pytest.raises(InputError, match="no class 'heart'"):
        measure(volume(np.zeros((2, 2, 2), np.uint8)), taxonomy=flare23(), classes=("heart",))
