from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.errors import InputError, OutputError
from nnstudent.inference.files.find import find_cases
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.model_runner import ModelRunner
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels, write_image
from tests.inference.conftest import blobs
from tests.reports import read_report


@pytest.fixture(scope="module")
def segmenter(isotropic) -> Segmenter:
    return Segmenter(isotropic, threads=2)


@pytest.fixture
def scans(tmp_path) -> Path:
    folder = tmp_path / "scans"
    for seed, name in enumerate(("a_0000", "b_0000")):
        write_image(folder / f"{name}.nii.gz", blobs((14, 20, 22), (5.0, 4.0, 4.0), seed=seed))
    return folder


def broken_files(folder: Path) -> dict[str, str]:
    """Files that cannot be used, and a word of what must be said of each."""
    good = blobs((8, 10, 12), (5.0, 4.0, 4.0))
    affine = good.grid.affine
    write_image(folder / "whole.nii.gz", good)
    data = (folder / "whole.nii.gz").read_bytes()
    (folder / "whole.nii.gz").unlink()
    (folder / "truncated.nii.gz").write_bytes(data[: len(data) // 2])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "text.nii.gz").write_text("not an image")
    nan = good.array.astype(np.float32)
    nan[0, 0, 0] = np.nan
    arrays = {
        "nan": nan.T,
        "flat": good.array[0].T,
        "moving": np.stack([good.array.T] * 3, axis=-1),
    }
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    nib.save(
        nib.Nifti1Image(good.array.T, np.diag([400.0, 400.0, 400.0, 1.0])), folder / "huge.nii.gz"
    )
    words = ("damaged", "is empty", "cannot be opened", "NaN", "2D", "4D", "spacing")
    return dict(zip(("truncated", "empty", "text", *arrays, "huge"), words, strict=True))


def test_broken_files_are_named_and_the_others_done(scans, tmp_path, isotropic, capfd):
    expected = broken_files(scans)
    code = main(
        [
            "segment",
            str(scans),
            "-o",
            str(tmp_path / "out"),
            "--model",
            str(isotropic),
            "--report",
            str(tmp_path / "r.json"),
        ]
    )
    assert code == 1
    errors = capfd.readouterr().err
    report = read_report(tmp_path / "r.json", "segment")
    reasons = {failure["id"]: failure["reason"] for failure in report["failures"]}
    assert set(reasons) == set(expected)
    for name, word in expected.items():
        assert word in reasons[name]
        assert "\n" not in reasons[name]
        assert f"failed: {name}: " in errors
    assert "Traceback" not in errors
    # Not every image has nnU-Net's _0000, so that it is a part of the names.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_0000.nii.gz",
        "b_0000.nii.gz",
    ]
    assert [case["id"] for case in report["cases"]] == ["a_0000", "b_0000"]


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
        assert set(case["organs"][name]) == {"volume_ml", "touches_border", "confidence"}
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


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "nan", "flat", "moving", "huge"])
def test_one_broken_image_is_one_line_and_exit_code_2(tmp_path, isotropic, kind, capfd):
    said = broken_files(tmp_path)[kind]
    out = tmp_path / "out" / "o.nii.gz"
    report = tmp_path / "r.json"
    assert (
        main(
            [
                "segment",
                str(tmp_path / f"{kind}.nii.gz"),
                "-o",
                str(out),
                "--model",
                str(isotropic),
                "--report",
                str(report),
            ]
        )
        == 2
    )
    told, errors = capfd.readouterr()
    assert told == ""
    (line,) = errors.splitlines()
    assert said in line
    assert not out.parent.exists()
    assert json.loads(report.read_text())["failures"][0]["id"] == kind


def test_a_folder_of_which_no_image_can_be_used(tmp_path, isotropic, capfd):
    folder = tmp_path / "scans"
    folder.mkdir()
    expected = broken_files(folder)
    assert (
        main(["segment", str(folder), "-o", str(tmp_path / "out"), "--model", str(isotropic)]) == 2
    )
    told, errors = capfd.readouterr()
    assert told == f"0 segmented, 0 skipped, {len(expected)} failed\n"
    assert errors.count("failed: ") == len(expected)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_folders_is_asked_back(scans, tmp_path):
    with pytest.raises(
        InputError, match="it has the folders scans, name the one that holds the images"
    ):
        find_cases(tmp_path, tmp_path / "out")


def test_an_output_that_cannot_be_written_is_said_before_the_work(
    scans, tmp_path, isotropic, capfd
):
    (tmp_path / "file").write_text("in the way")
    for output in (tmp_path / "file" / "o.nii.gz", tmp_path / "file" / "deeper" / "o.nii.gz"):
        code = main(
            ["segment", str(scans / "a_0000.nii.gz"), "-o", str(output), "--model", str(isotropic)]
        )
        assert code == 2
        errors = capfd.readouterr().err.splitlines()
        assert len(errors) == 1
        assert "cannot be written" in errors[0]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_permission(scans, tmp_path, segmenter):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="may write"):
        segment_files(scans, tmp_path / "locked", segmenter)


def test_nothing_half_written_remains(scans, tmp_path, segmenter, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nibabel.save", full)
    with pytest.raises(OutputError, match="No space left"):
        segment_files(scans, tmp_path / "out", segmenter)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error", [MemoryError("cannot allocate"), RuntimeError("bad alloc\nin the engine")]
)
def test_running_out_of_memory_fails_one_case(scans, tmp_path, isotropic, monkeypatch, error):
    segmenter = Segmenter(isotropic)
    engine = segmenter.engine_of(0, 0)

    class Once:
        name, precision, restores_on, calls = engine.name, engine.precision, None, 0

        def __call__(self, window):
            self.calls += 1
            if self.calls == 1:
                raise error
            return engine(window)

    once = Once()
    monkeypatch.setattr(ModelRunner, "engine_of", lambda self, network, member: once)
    result = segment_files(scans, tmp_path / "out", segmenter)
    (failure,) = result.failures
    assert failure.case == "a"
    assert failure.reason.startswith(f"{scans / 'a_0000.nii.gz'}: ")
    assert " ".join(str(error).split()) in failure.reason
    assert [row["id"] for row in result.rows] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--organs", "heart"], "--organs: no class 'heart'; expected some of"),
        (["--organs", "lever"], "--organs: no class 'lever'; did you mean liver?"),
        (["--device", "cuda", "--engine", "openvino"], "OpenVINO has"),
        (["--model", "nowhere"], "no such folder"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    scans, tmp_path, isotropic, capfd, arguments, says
):
    given = [
        "segment",
        str(scans),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(isotropic),
        *arguments,
    ]
    assert main(given) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()


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


@pytest.fixture
def study(tmp_path) -> Path:
    """A DICOM series with something like a body in it."""
    pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
    from tests.io.series import Series

    return Series(
        stored=blobs((14, 20, 22), (5.0, 4.0, 4.0)).array + 1024, spacing=(4.0, 4.0, 5.0)
    ).write(tmp_path / "study")


def test_every_format_has_the_same_labels(tmp_path, study, segmenter):
    import highdicom as hd
    import nrrd
    import pydicom

    formats = ("dicom-seg", "nifti", "rtstruct", "seg.nrrd")
    result = segment_files(study, tmp_path / "out", segmenter, options=Options(formats=formats))
    assert not result.failures
    assert result.rows[0]["output"] == str(tmp_path / "out" / "study.seg.dcm")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"study.{end}" for end in ("nii.gz", "rtstruct.dcm", "seg.dcm", "seg.nrrd")
    ]
    labels = read_labels(tmp_path / "out" / "study.nii.gz").array
    assert labels.any()
    assert np.array_equal(nrrd.read(str(tmp_path / "out" / "study.seg.nrrd"))[0].T, labels)
    seg = hd.seg.segread(tmp_path / "out" / "study.seg.dcm")
    names = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    ids = [segmenter.taxonomy[name.lower().replace(" ", "_")].id for name in names]
    slices = sorted(
        (pydicom.dcmread(path) for path in study.iterdir()),
        key=lambda header: header.ImagePositionPatient[2],
    )
    uids = [header.SOPInstanceUID for header in slices]
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(np.array([0, *ids])[pixels], labels)
    assert seg.ManufacturerModelName.startswith("nnStudent ")
    assert seg.DeviceSerialNumber == segmenter.model.hash
    regions = pydicom.dcmread(tmp_path / "out" / "study.rtstruct.dcm").StructureSetROISequence
    assert [region.ROIName for region in regions] == names
    again = segment_files(
        study, tmp_path / "out", segmenter, options=Options(formats=formats, skip_existing=True)
    )
    assert again.skipped == ("study",)


@pytest.mark.parametrize(
    ("output", "arguments", "expected"),
    [
        ("o.dcm", ["--format", "dicom-seg"], ["o.dcm"]),
        ("o.nii.gz", ["--format", "dicom-seg,nifti"], ["o.nii.gz", "o.seg.dcm"]),
        ("o.seg.nrrd", ["--format", "seg.nrrd", "--preview"], ["o.png", "o.seg.nrrd"]),
    ],
)
def test_names_of_formats(tmp_path, study, isotropic, output, arguments, expected):
    folder = tmp_path / "out"
    assert (
        main(
            [
                "segment",
                str(study),
                "-o",
                str(folder / output),
                "--model",
                str(isotropic),
                *arguments,
            ]
        )
        == 0
    )
    assert sorted(path.name for path in folder.iterdir()) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "dicom"], "format 'dicom'; expected one of nifti, dicom-seg"),
        (["--format", "dicom-seg"], "a_0000.nii.gz: dicom-seg refers to the DICOM series"),
        (["--format", "nifti,rtstruct"], "give the folder of the series"),
        (["--format", "seg.nrrd", "--split"], "leave out --split"),
    ],
)
def test_formats_that_cannot_be_are_said_before_the_work(
    scans, tmp_path, isotropic, capfd, arguments, says
):
    assert (
        main(
            [
                "segment",
                str(scans),
                "-o",
                str(tmp_path / "out"),
                "--model",
                str(isotropic),
                *arguments,
            ]
        )
        == 2
    )
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()


def test_a_format_whose_library_is_missing_names_the_extra(
    study, tmp_path, isotropic, capfd, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert (
        main(
            [
                "segment",
                str(study),
                "-o",
                str(tmp_path / "o"),
                "--model",
                str(isotropic),
                "--format",
                "dicom-seg",
            ]
        )
        == 2
    )
    (line,) = capfd.readouterr().err.splitlines()
    assert "writing dicom-seg needs highdicom" in line
    assert "nnstudent[dicom]" in line


def without(study, keyword, value=""):
    import pydicom

    for path in study.iterdir():
        header = pydicom.dcmread(path)
        header[keyword].value = value
        header.save_as(path)


def test_a_series_without_uids_is_refused_before_the_work(
    tmp_path, study, isotropic, capfd, monkeypatch
):
    without(study, "StudyInstanceUID")
    without(study, "FrameOfReferenceUID", "not one")
    monkeypatch.setattr(Segmenter, "stages", lambda *args, **kwargs: pytest.fail("the network ran"))
    given = [
        "segment",
        str(study),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(isotropic),
        "--format",
        "rtstruct,dicom-seg",
    ]
    assert main(given) == 2
    assert (
        "StudyInstanceUID is missing, FrameOfReferenceUID is malformed, so that no DICOM object"
        in capfd.readouterr().err
    )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_new_uids_make_a_series_without_them_usable(tmp_path, study, isotropic, capfd):
    import pydicom

    without(study, "StudyInstanceUID")
    given = [
        "segment",
        str(study),
        "--model",
        str(isotropic),
        "--format",
        "rtstruct,dicom-seg",
        "--new-uids",
        "-o",
    ]
    for out in ("out", "again"):
        assert main([*given, str(tmp_path / out)]) == 0
    assert "StudyInstanceUID is missing: derived from the content" in capfd.readouterr().err
    made = [
        pydicom.dcmread(path) for out in ("out", "again") for path in (tmp_path / out).iterdir()
    ]
    assert len(made) == 4
    assert len({dataset.StudyInstanceUID for dataset in made}) == 1
    assert len({dataset.SOPInstanceUID for dataset in made}) == 4


@pytest.mark.parametrize(
    "formats", ["nifti,dicom-seg", "dicom-seg,nifti", "rtstruct,dicom-seg,seg.nrrd"]
)
def test_a_format_that_cannot_be_written_keeps_no_other_from_it(
    tmp_path, study, isotropic, capfd, formats
):
    without(study, "StudyInstanceUID")
    out, report = tmp_path / "out", tmp_path / "r.json"
    given = [
        "segment",
        str(study),
        "-o",
        str(out),
        "--model",
        str(isotropic),
        "--format",
        formats,
        "--report",
        str(report),
    ]
    assert main(given) == 1
    (written,) = out.iterdir()
    assert written.name.endswith((".nii.gz", ".seg.nrrd"))
    failed = [line for line in capfd.readouterr().err.splitlines() if "failed: study:" in line]
    assert len(failed) == formats.count("rtstruct") + 1
    assert all(
        "StudyInstanceUID is missing" in line and line.endswith(f"written: {written}")
        for line in failed
    )
    (row,) = read_report(report, "segment")["cases"]
    assert row["output"] == str(written)
    assert set(row["outputs"]) | set(row["failed"]) == set(formats.split(","))


def test_a_format_whose_place_is_taken_keeps_no_other_from_it(tmp_path, study, isotropic, capfd):
    out = tmp_path / "out"
    (out / "study.seg.dcm" / "x").mkdir(parents=True)
    assert (
        main(
            [
                "segment",
                str(study),
                "-o",
                str(out),
                "--model",
                str(isotropic),
                "--format",
                "dicom-seg,nifti",
            ]
        )
        == 1
    )
    assert (out / "study.nii.gz").is_file()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "failed: study:" in line]
    assert f"{out / 'study.seg.dcm'}" in line
    assert line.endswith(f"written: {out / 'study.nii.gz'}")


def test_nothing_found_is_no_dicom_seg_but_a_label_map(tmp_path, isotropic, capfd):
    from tests.io.series import Series

    study = Series(stored=np.full((14, 20, 22), 24), spacing=(4.0, 4.0, 5.0)).write(
        tmp_path / "air"
    )
    study.joinpath(next(study.iterdir()).name)
    assert (
        main(
            [
                "segment",
                str(study),
                "-o",
                str(tmp_path / "out"),
                "--model",
                str(isotropic),
                "--format",
                "dicom-seg,nifti",
            ]
        )
        == 1
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["air.nii.gz"]
    assert "nothing was found" in capfd.readouterr().err
