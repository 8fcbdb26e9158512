from __future__ import annotations

import numpy as np
import pytest

from nnstudent.io.dicom.series import read_series
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.taxonomy import flare23

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")

from tests.io.dicom.objects import (  # noqa: E402
    labels_of,
)
from tests.io.series import ORIENTATIONS, anatomical  # noqa: E402


def test_nrrd_names_and_colors(tmp_path):
    series = anatomical(*ORIENTATIONS[5])
    labels = labels_of(read_series(series.write(tmp_path / "s")))
    write_seg_nrrd(tmp_path / "l.seg.nrrd", labels, taxonomy=flare23())
    header = nrrd.read_header(str(tmp_path / "l.seg.nrrd"))
    assert [header[f"Segment{n}_Name"] for n in range(4)] == [
        "Liver",
        "Right adrenal gland",
        "Left adrenal gland",
        "Tumor",
    ]
    assert "Segment4_Name" not in header
    for n, id in enumerate((1, 7, 8, 14)):
        assert header[f"Segment{n}_LabelValue"] == str(id)
        assert [round(255 * float(v)) for v in header[f"Segment{n}_Color"].split()] == list(
            flare23().by_id(id).color
        )
        assert f"~SCT^{flare23().by_id(id).snomed}^" in header[f"Segment{n}_Tags"]
        x0, x1, y0, y1, z0, z1 = map(int, header[f"Segment{n}_Extent"].split())
        k, j, i = np.nonzero(labels.array == id)
        assert (x0, x1, y0, y1, z0, z1) == (i.min(), i.max(), j.min(), j.max(), k.min(), k.max())
