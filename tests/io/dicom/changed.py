"""Objects made from series whose headers were changed."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.io.dicom.derived import LabeledSeries
from nnstudent.io.dicom.origin import read_origin
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
from pydicom.dataelem import RawDataElement  # noqa: E402
from pydicom.tag import Tag  # noqa: E402

from tests.io.dicom.objects import ALGORITHM  # noqa: E402
from tests.io.series import Series  # noqa: E402

UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPClassUID",
    "SOPInstanceUID",
)


def raw(header, keyword, value: bytes, vr: str | None = None):
    """Put bytes into an element, whatever they mean."""
    tag = Tag(keyword)
    vr = vr or pydicom.datadict.dictionary_VR(tag)
    value += b"\0" * (len(value) % 2)
    header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def made_of(tmp_path, change, *, name=None, algorithm=ALGORITHM, new_uids=False):
    """The series with a change in each header, its labels, and both objects as they are read back.

    ``name`` is the patient's as bytes, put into the files themselves: pydicom would encode it anew.
    """
    source = Series()
    for k, header in enumerate(source.slices):
        change(header, k)
        if name is not None:
            name += b" " * (len(name) % 2)
            header.PatientName = "~" * len(name)
    folder = source.write(tmp_path / "s")
    for path in folder.iterdir() if name is not None else ():
        path.write_bytes(path.read_bytes().replace(b"~" * len(name), name))
    series = read_series(folder)
    labels = Volume(np.zeros(series.volume.grid.shape, np.uint8), series.volume.grid)
    labels.array[1:4, 2:4, 3:6] = 1
    origin = read_origin(series, new_uids=new_uids)
    both = LabeledSeries.of(labels, series, taxonomy=flare23(), algorithm=algorithm, origin=origin)
    write_seg(tmp_path / "l.seg.dcm", both)
    write_rtstruct(tmp_path / "l.rt.dcm", both)
    seg = hd.seg.segread(tmp_path / "l.seg.dcm")
    found = seg.get_volume(combine_segments=True)
    k, j, i = np.nonzero(found.array)
    places = (np.stack([k, j, i, np.ones_like(k)], axis=-1) @ found.affine.T)[:, :3]
    k, j, i = np.nonzero(labels.array)
    expected = np.stack([i, j, k, np.ones_like(k)], axis=-1) @ source.affine.T[:, :3]
    assert np.allclose(sorted(map(tuple, places)), sorted(map(tuple, expected)), atol=1e-3)
    return source, origin, (seg, pydicom.dcmread(tmp_path / "l.rt.dcm"))
