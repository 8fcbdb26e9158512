"""Labels to write as DICOM objects, and readers of these objects."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.io.dicom.derived import Algorithm, LabeledSeries
from nnstudent.io.terms import meaning
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")

from tests.io.series import anatomy, places  # noqa: E402

ALGORITHM = Algorithm("nnStudent test", "1.2.3", "0123456789abcdef")


IDS = {meaning(item): item.id for item in flare23()}


def labels_of(series) -> Volume:
    """The anatomy, at the voxels of the volume that was read."""
    return Volume(
        anatomy(
            places(np.diag([-1, -1, 1, 1]) @ series.volume.grid.affine, series.volume.grid.shape)
        ),
        series.volume.grid,
    )


def labeled(labels: Volume, series) -> LabeledSeries:
    return LabeledSeries.of(labels, series, taxonomy=flare23(), algorithm=ALGORITHM)


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points (..., 2) lie in a polygon, by the even-odd rule."""
    x, y = points[..., 0, None], points[..., 1, None]
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return crossed.sum(axis=-1) % 2 == 1


def drawn(structures, headers) -> np.ndarray:
    """The labels of an RTSTRUCT on the planes of its series, (slice, row, column)."""
    planes = {
        header.SOPInstanceUID: np.zeros((header.Rows, header.Columns), np.uint8)
        for header in headers
    }
    names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
    for region in structures.ROIContourSequence:
        for contour in region.ContourSequence:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            (header,) = (h for h in headers if h.SOPInstanceUID == uid)
            away = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(
                header.ImagePositionPatient, float
            )
            row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
            assert np.abs(away @ np.cross(row, column)).max() < 0.01  # in its plane
            corners = np.stack(
                [away @ row / header.PixelSpacing[1], away @ column / header.PixelSpacing[0]],
                axis=1,
            )
            grid = np.stack(np.indices((header.Rows, header.Columns))[::-1], axis=-1)
            planes[uid][inside(grid, corners)] = IDS[names[region.ReferencedROINumber]]
    return np.stack([planes[header.SOPInstanceUID] for header in headers])


def assert_holds_the_anatomy(path):
    seg = hd.seg.segread(path)
    found = seg.get_volume(combine_segments=True)
    numbers = np.array(
        [0, *(IDS[seg.get_segment_description(n).segment_label] for n in seg.segment_numbers)]
    )
    index = np.stack([*np.indices(found.spatial_shape), np.ones(found.spatial_shape)], axis=-1)
    assert np.array_equal(numbers[found.array], anatomy(index @ found.affine[:3].T))
