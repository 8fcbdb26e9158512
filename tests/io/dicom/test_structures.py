"""DICOM-SEG and RTSTRUCT are read back as what was written, on the grid of their series."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import GeometryError, InputError
from nnstudent.volume import Grid

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from nnstudent.io.dicom.rtstruct import write_rtstruct  # noqa: E402
from nnstudent.io.dicom.seg import write_seg  # noqa: E402
from nnstudent.io.dicom.series import read_series  # noqa: E402
from nnstudent.io.dicom.structures import (  # noqa: E402
    inside,
    is_structures,
    read_structures,
    region_names,
)
from tests.io.dicom.objects import IDS, labeled, labels_of  # noqa: E402
from tests.io.series import ORIENTATIONS, Series, anatomical  # noqa: E402


@pytest.mark.parametrize("orientation", ORIENTATIONS[::11])
@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_what_was_written_is_read(tmp_path, kind, orientation):
    folder = anatomical(*orientation).write(tmp_path / "study")
    series = read_series(folder)
    labels, path = labels_of(series), tmp_path / "o.dcm"
    {"seg": write_seg, "rtstruct": write_rtstruct}[kind](path, labeled(labels, series))
    assert is_structures(path)
    assert not is_structures(next(folder.iterdir()))
    found = read_structures(path, onto=series.volume.grid)
    assert set(found.names) == set(region_names(path)) <= set(IDS)
    for name in found.names:
        mask = found.read(name)
        assert np.array_equal(mask.array, labels.array == IDS[name]), name
        assert mask.grid.matches(series.volume.grid)


def test_a_seg_has_a_grid_of_its_own_and_an_rtstruct_has_none(tmp_path):
    series = read_series(anatomical(*ORIENTATIONS[0]).write(tmp_path / "study"))
    labels = labels_of(series)
    write_seg(tmp_path / "s.dcm", labeled(labels, series))
    write_rtstruct(tmp_path / "r.dcm", labeled(labels, series))
    found = read_structures(tmp_path / "s.dcm")
    for name in found.names:
        assert np.count_nonzero(found.read(name).array) == np.count_nonzero(
            labels.array == IDS[name]
        )
    with pytest.raises(InputError, match="name the image that they were drawn on with --like"):
        read_structures(tmp_path / "r.dcm")
    other = Grid(series.volume.grid.shape, series.volume.grid.affine + 0.3 * np.eye(4, k=3))
    with pytest.raises(GeometryError, match="lies on another grid than the image"):
        read_structures(tmp_path / "s.dcm", onto=other).read(found.names[0])
    with pytest.raises(InputError, match="is neither a DICOM-SEG nor an RTSTRUCT"):
        read_structures(next((tmp_path / "study").iterdir()))


def test_damage_is_one_line(tmp_path):
    series = read_series(anatomical(*ORIENTATIONS[0]).write(tmp_path / "study"))
    path = tmp_path / "r.dcm"
    write_rtstruct(path, labeled(labels_of(series), series))
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = [1.0, 2.0]
    dataset.save_as(path)
    with pytest.raises(InputError, match="a malformed RTSTRUCT"):
        read_structures(path, onto=series.volume.grid)
    Series().write(tmp_path / "other")
    far = read_series(tmp_path / "other").volume.grid
    write_rtstruct(path, labeled(labels_of(series), series))
    found = read_structures(path, onto=Grid((2, 6, 8), far.affine))
    with pytest.raises(GeometryError, match=r"a contour (does not lie|lies beyond)"):
        [found.read(name) for name in found.names]


def test_a_hole_joined_to_its_outline_is_a_hole():
    ring = np.array([(0.5, 0.5), (5.5, 0.5), (5.5, 5.5), (0.5, 5.5)])
    hole = np.array([(2.5, 2.5), (3.5, 2.5), (3.5, 3.5), (2.5, 3.5)])
    joined = np.concatenate([ring[:1], hole, hole[:1], ring[:1], ring[1:]])
    mask = inside(joined, (7, 7))
    assert mask.sum() == 24
    assert not mask[3, 3]
    assert inside(ring, (7, 7)).sum() == 25


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("ContourData", ["nan", "0", "0"] * 4, "has points that are no numbers"),
        ("ContourData", ["1", "2", "3"], "has 1 points, and says"),
        ("ContourData", [], "has 0 points|malformed RTSTRUCT"),
        (
            "ContourGeometricType",
            "CIRCLE",
            "is of the type 'CIRCLE'; expected one of CLOSED_PLANAR",
        ),
    ],
)
def test_a_damaged_contour_is_refused_and_not_left_out(tmp_path, tag, value, said):
    series = read_series(anatomical(*ORIENTATIONS[0]).write(tmp_path / "study"))
    path = tmp_path / "r.dcm"
    write_rtstruct(path, labeled(labels_of(series), series))
    data = pydicom.dcmread(path)
    contour = data.ROIContourSequence[0].ContourSequence[0]
    setattr(contour, tag, value)
    if "nan" in value:
        contour.NumberOfContourPoints = len(value) // 3
    data.save_as(path)
    with pytest.raises(InputError, match=f"r.dcm: a.*({said})"):
        read_structures(path, onto=series.volume.grid)


def test_contours_that_exclude_each_other_are_read_as_closed_ones(tmp_path):
    series = read_series(anatomical(*ORIENTATIONS[0]).write(tmp_path / "study"))
    labels, path = labels_of(series), tmp_path / "r.dcm"
    write_rtstruct(path, labeled(labels, series))
    data = pydicom.dcmread(path)
    for item in data.ROIContourSequence:
        for contour in item.ContourSequence:
            contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
    data.save_as(path)
    found = read_structures(path, onto=series.volume.grid)
    for name in found.names:
        assert np.array_equal(found.read(name).array, labels.array == IDS[name])
