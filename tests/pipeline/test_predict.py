from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cohort.cohort import Case
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import write_image
from nnstudent.pipeline.predict import predict
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model") / "isotropic", ISOTROPIC)


def test_a_case_is_segmented_again_only_if_something_that_decides_its_labels_changed(
    model: Path, tmp_path: Path
) -> None:
    image, out = tmp_path / "ct.nii.gz", tmp_path / "out"
    write_image(image, blobs((20, 24, 28), (2.0, 2.0, 2.0)))
    case = Case("one", image)

    def times(**settings: object) -> list[int]:
        assert predict([case], out, Segmenter(model, **settings)) == ()
        return [(out / name).stat().st_mtime_ns for name in ("one.nii.gz", "one.json")]

    first = times()
    assert times() == first
    assert times(threads=1) == first
    assert times(postprocess=()) != first
