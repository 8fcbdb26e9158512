from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.web.forms import FormFile
from nnstudent.web.monailabel.labels import raw_labels, read_sent
from tests.web.served import FOUND, GRID


def sent(path, name="label.nii.gz", **params):
    return read_sent(FormFile("label", name, path), params, None, "p1")


def test_what_a_client_says_is_read(tmp_path):
    info = [{"name": "liver", "idx": 2}, {"name": "spleen", "id": 5}]
    found = sent(
        tmp_path, label_info=info, client_id="anna", confirmed=["liver"], absent=["spleen"]
    )
    assert found.ids == {2: "liver", 5: "spleen"}
    assert (found.by, found.confirmed) == ("anna", ["liver", "spleen"])
    assert sent(tmp_path).confirmed is None


@pytest.mark.parametrize(
    "params",
    [
        {"label_info": "liver"},
        {"label_info": [{"name": "liver"}]},
        {"label_info": [{"name": "liver", "idx": 256}]},
        {"label_info": [3]},
        {"confirmed": "liver"},
        {"absent": [3]},
        {"version": "1"},
    ],
)
def test_what_is_malformed_is_refused(tmp_path, params):
    with pytest.raises(InputError, match="params"):
        sent(tmp_path, **params)


def test_segments_that_may_overlap_are_refused(tmp_path):
    with pytest.raises(InputError, match="may overlap"):
        sent(tmp_path, name="a.seg.nrrd")


def test_bare_voxels_must_be_as_many_as_the_scan_has(tmp_path):
    path = tmp_path / "label.bin"
    for dtype in ("<u1", "<u2"):
        path.write_bytes(FOUND.array.astype(dtype).tobytes())
        assert (raw_labels(path, GRID).array == FOUND.array).all()
    path.write_bytes(bytes(5))
    with pytest.raises(InputError, match="5 bytes"):
        raw_labels(path, GRID)
    path.write_bytes(np.full(GRID.shape, 300, "<u2").tobytes())
    with pytest.raises(InputError, match="300"):
        raw_labels(path, GRID)
