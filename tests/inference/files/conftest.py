from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import write_image
from tests.inference.conftest import blobs


@pytest.fixture(scope="session")
def segmenter(isotropic) -> Segmenter:
    return Segmenter(isotropic, threads=2)


@pytest.fixture
def scans(tmp_path) -> Path:
    folder = tmp_path / "scans"
    for seed, name in enumerate(("a_0000", "b_0000")):
        write_image(folder / f"{name}.nii.gz", blobs((14, 20, 22), (5.0, 4.0, 4.0), seed=seed))
    return folder


@pytest.fixture
def study(tmp_path) -> Path:
    """A DICOM series with something like a body in it."""
    pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
    from tests.io.series import Series

    return Series(
        stored=blobs((14, 20, 22), (5.0, 4.0, 4.0)).array + 1024, spacing=(4.0, 4.0, 5.0)
    ).write(tmp_path / "study")
