from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.inference.files.find import find_cases
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels, write_image
from tests.inference.conftest import blobs


def test_the_report_is_as_designed(scans, tmp_path, isotropic, capfd):
    scan = scans / "a_0000.nii.gz"
    arguments = [
        "segment",
        str(scan),
        "-o",
        str(tmp_path / "o.nii.gz"),
        "--model",
        str(isotropic),
        "--report",
        str(tmp_path / "r.json"),
    ]
    assert main([*arguments, "--preview", "--threads", "2", "--precision", "fp32"]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert {"schema", "version", "command", "model", "cases"} <= set(report)
    (case,) = report["cases"]
    assert (case["id"], case["input"], case["output"]) == (
        "a",
        str(scan),
        str(tmp_path / "o.nii.gz"),
    )
    assert (case["engine"], case["precision"]) == ("openvino", "fp32")
    assert set(case["seconds"]) == {"read", "preprocess", "network", "restore", "write", "total"}
    parts = sum(value for key, value in case["seconds"].items() if key != "total")
    assert parts <= case["seconds"]["total"] + 0.01
    assert 50 < case["peak_rss_mb"] < 50_000
    assert case["windows"]["planned"] == case["windows"]["run"] > 0
    assert case["warnings"] == []
    labels = read_labels(tmp_path / "o.nii.gz")
    for id, name in ((1, "liver"), (2, "spleen"), (3, "aorta")):
        assert set(case["organs"][name]) == {
            "volume_ml",
            "touches_border",
            "confidence",
            "quality",
        }
        assert case["organs"][name]["volume_ml"] == pytest.approx(
            (labels.array == id).sum() * 0.08, abs=1e-3
        )
    out = capfd.readouterr().out
    assert "liver" in out
    assert "wrote" in out
    assert (tmp_path / "o.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_can_be_given_by_its_path(scans, tmp_path, isotropic):
    done = segment_files(scans, tmp_path / "path", isotropic)
    segmenter = Segmenter(isotropic, precision="auto", windows="guided")
    assert len(done.rows) == 2
    segment_files(scans, tmp_path / "segmenter", segmenter)
    for row in done.rows:
        name = f"{row['id']}.nii.gz"
        by_path, by_segmenter = (
            read_labels(tmp_path / way / name) for way in ("path", "segmenter")
        )
        np.testing.assert_array_equal(by_path.array, by_segmenter.array)


def test_only_some_organs(scans, tmp_path, segmenter):
    whole = segment_files(scans, tmp_path / "whole", segmenter)
    some = segment_files(scans, tmp_path / "some", segmenter, options=Options(organs=("spleen",)))
    assert [list(row["organs"]) for row in some.rows] == [["spleen"], ["spleen"]]
    for row in whole.rows:
        labels = read_labels(tmp_path / "whole" / f"{row['id']}.nii.gz").array
        kept = read_labels(tmp_path / "some" / f"{row['id']}.nii.gz").array
        np.testing.assert_array_equal(kept, np.where(labels == 2, 2, 0))
    with pytest.raises(
        InputError, match="--organs: no class 'heart'; expected some of liver, spleen, aorta"
    ):
        segment_files(scans, tmp_path / "some", segmenter, options=Options(organs=("heart",)))


def test_a_file_an_organ(scans, tmp_path, segmenter):
    segment_files(scans, tmp_path / "whole", segmenter)
    segment_files(scans, tmp_path / "split", segmenter, options=Options(split=True, preview=True))
    labels = read_labels(tmp_path / "whole" / "a.nii.gz").array
    assert sorted(p.name for p in (tmp_path / "split" / "a").iterdir()) == [
        "aorta.nii.gz",
        "liver.nii.gz",
        "preview.png",
        "spleen.nii.gz",
    ]
    np.testing.assert_array_equal(
        read_labels(tmp_path / "split" / "a" / "spleen.nii.gz").array, labels == 2
    )


def test_what_is_there_is_left_alone_if_asked(scans, tmp_path, segmenter):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.nii.gz").write_text("already here")
    result = segment_files(scans, out, segmenter, options=Options(skip_existing=True))
    assert result.skipped == ("a",)
    assert [row["id"] for row in result.rows] == ["b"]
    assert (out / "a.nii.gz").read_text() == "already here"


def test_where_outputs_go(scans, tmp_path):
    scan = scans / "a_0000.nii.gz"
    assert find_cases(scan, tmp_path / "x.nii.gz")[0].output == tmp_path / "x.nii.gz"
    assert find_cases(scan, tmp_path)[0].output == tmp_path / "a.nii.gz"
    assert [case.id for case in find_cases(scans, tmp_path / "out")] == ["a", "b"]
    for source, output, says in (
        (tmp_path / "nothing", tmp_path / "o", "no such file"),
        (scans, tmp_path / "o.nii.gz", "must be a folder"),
        (scan, tmp_path / "o.txt", "ends in .nii.gz"),
        (tmp_path, tmp_path / "o", "no image in this folder"),
    ):
        with pytest.raises(InputError, match=says):
            find_cases(source, output)
    write_image(scans / "A_0000.nii.gz", blobs((8, 8, 8), (5.0, 4.0, 4.0)))
    with pytest.raises(InputError, match="are both case a"):
        find_cases(scans, tmp_path / "out")


def test_an_image_is_never_replaced_by_its_labels(scans):
    scan = scans / "a_0000.nii.gz"
    with pytest.raises(InputError, match="the image itself"):
        find_cases(scan, scan)
    named = scan.rename(scans / "a.nii.gz")
    with pytest.raises(InputError, match="the image itself"):
        find_cases(named, scans)
    with pytest.raises(InputError, match="the folder of the images"):
        find_cases(scans, scans / ".." / scans.name)


def test_a_folder_of_folders_is_asked_back(scans, tmp_path):
    with pytest.raises(
        InputError, match="it has the folders scans, name the one that holds the images"
    ):
        find_cases(tmp_path, tmp_path / "out")


def test_a_scan_that_is_no_ct_is_segmented_with_a_warning(tmp_path, isotropic, capfd):
    scan = blobs((16, 20, 22), (5.0, 4.0, 4.0))
    np.abs(scan.array, out=scan.array)
    write_image(tmp_path / "mr.nii.gz", scan)
    assert (
        main(
            [
                "segment",
                str(tmp_path / "mr.nii.gz"),
                "-o",
                str(tmp_path / "o.nii.gz"),
                "--model",
                str(isotropic),
            ]
        )
        == 0
    )
    assert "warning: does not look like CT in HU" in capfd.readouterr().err


def test_a_dicom_series_is_one_case(real_data, tmp_path, segmenter):
    pytest.importorskip("pydicom", reason="reads DICOM, and pydicom is not installed")
    result = segment_files(real_data / "ts_dicom20" / "series", tmp_path / "o.nii.gz", segmenter)
    assert not result.failures
    assert read_labels(tmp_path / "o.nii.gz").grid.matches(
        read_labels(real_data / "ts_dicom20" / "label.nii.gz").reoriented("LPS").grid
    )


def test_folders_of_dicom_folders(tmp_path):
    pytest.importorskip("pydicom", reason="reads DICOM, and pydicom is not installed")
    from tests.io.series import Series

    Series().write(tmp_path / "patients" / "a" / "study" / "series")
    Series().write(tmp_path / "patients" / "b")
    (tmp_path / "patients" / "notes").mkdir()
    (tmp_path / "patients" / "list.txt").write_text("a, b")
    cases = find_cases(tmp_path / "patients", tmp_path / "out")
    assert [(case.id, case.output.name) for case in cases] == [("a", "a.nii.gz"), ("b", "b.nii.gz")]
    assert len(find_cases(tmp_path / "patients" / "b", tmp_path / "b.nii.gz")) == 1
    disc = tmp_path / "disc"
    Series().write(disc / "DICOM" / "PA0")
    (disc / "DICOMDIR").write_bytes(b"")
    assert [case.id for case in find_cases(disc, tmp_path / "o.nii.gz")] == ["disc"]


def test_the_series_that_is_named_is_segmented(tmp_path, segmenter):
    pytest.importorskip("pydicom", reason="reads DICOM, and pydicom is not installed")
    from tests.io.series import Series

    study = tmp_path / "study"
    for number, slices in ((2, 16), (3, 18)):
        Series(
            number=number, stored=np.full((slices, 20, 22), 1064), spacing=(4.0, 4.0, 5.0)
        ).write(study)
    (failure,) = segment_files(study, tmp_path / "o.nii.gz", segmenter).failures
    assert "2 CT series that could be meant" in failure.reason
    result = segment_files(study, tmp_path / "o.nii.gz", segmenter, options=Options(series="3"))
    assert not result.failures
    assert read_labels(tmp_path / "o.nii.gz").array.shape == (18, 20, 22)
