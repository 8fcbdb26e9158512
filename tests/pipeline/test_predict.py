from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnstudent.cohort.cohort import Case
from nnstudent.inference.files.find import CaseFile
from nnstudent.inference.files.segment import segment_file
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
        assert predict([case], Segmenter(model, **settings), out=out) == ()
        return [(out / name).stat().st_mtime_ns for name in ("one.nii.gz", "one.json")]

    first = times()
    assert times() == first
    assert times(threads=1) == first
    assert times(postprocess=()) != first


def test_a_case_has_the_record_that_segment_reports(model: Path, tmp_path: Path) -> None:
    image, out = tmp_path / "ct.nii.gz", tmp_path / "out"
    write_image(image, blobs((20, 24, 28), (2.0, 2.0, 2.0)))
    segmenter = Segmenter(model)
    assert predict([Case("one", image)], segmenter, out=out) == ()
    record = json.loads((out / "one.json").read_text("utf-8"))
    reported = segment_file(CaseFile("one", image, tmp_path / "other.nii.gz"), segmenter).record()
    assert set(reported) <= set(record)
    assert record["organs"] == reported["organs"]
    assert list(record["seconds"]) == list(reported["seconds"])
