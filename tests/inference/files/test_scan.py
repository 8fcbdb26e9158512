from __future__ import annotations

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.files import scan
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.scan import segment_scan
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, write_image
from tests.inference.conftest import blobs


@pytest.fixture(scope="module")
def segmenter(isotropic):
    return Segmenter(isotropic, threads=1)


@pytest.fixture
def image_file(tmp_path):
    write_image(tmp_path / "ct.nii.gz", blobs((18, 24, 30), (5.0, 4.0, 4.0)))
    return tmp_path / "ct.nii.gz"


def test_a_scan_is_segmented_as_its_image_is(segmenter, image_file, tmp_path):
    done = segment_scan(image_file, segmenter)
    labels = segmenter(read_image(image_file)).labels.array
    np.testing.assert_array_equal(done.segmentation.labels.array, labels)
    assert list(done.segmentation.seconds) == ["read", "preprocess", "network", "restore", "total"]
    assert done.segmentation.seconds["total"] > done.segmentation.seconds["read"] > 0
    assert list(tmp_path.iterdir()) == [image_file]


def test_an_image_with_too_many_voxels_is_refused_unread(segmenter, image_file, monkeypatch):
    monkeypatch.setattr(scan, "read_scan", lambda *args, **kwargs: pytest.fail("was read"))
    with pytest.raises(InputError, match="million voxels; expected at most 0"):
        segment_scan(image_file, segmenter, options=Options(max_voxels=18 * 24 * 30 - 1))
