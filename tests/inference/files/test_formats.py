"""Output formats: label maps, NRRD, DICOM-SEG and RTSTRUCT of one segmentation."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels
from tests.reports import read_report


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
        "StudyInstanceUID is missing, FrameOfReferenceUID is malformed, so no DICOM object"
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


@pytest.fixture
def body(tmp_path):
    from tests.inference.conftest import blobs

    return blobs((14, 20, 22), (5.0, 4.0, 4.0))


def test_an_image_gets_labels_in_its_own_format(tmp_path, body, segmenter):
    """SimpleITK reads image and labels and finds one geometry; archives are read in place."""
    import zipfile

    sitk = pytest.importorskip("SimpleITK", reason="the extra [mha] is not installed")
    folder = tmp_path / "in"
    folder.mkdir()
    image = sitk.GetImageFromArray(body.array.astype(np.int16))
    image.SetSpacing((4.0, 4.0, 5.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    for name in ("a.nrrd", "b.mha", "c.mhd", "d.nii.gz"):
        sitk.WriteImage(image, str(folder / name))
    with zipfile.ZipFile(folder / "e.zip", "w") as archive:
        archive.write(folder / "d.nii.gz", "inside/scan.nii.gz")
    result = segment_files(folder, tmp_path / "out", segmenter)
    assert result.failures == ()
    names = ["a.seg.nrrd", "b.mha", "c.mha", "d.nii.gz", "e.nii.gz"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    labels = [read_labels(tmp_path / "out" / name) for name in names]
    assert labels[0].array.any()
    assert all(np.array_equal(labels[0].array, other.array) for other in labels[1:])
    for name in names:
        written = sitk.ReadImage(str(tmp_path / "out" / name))
        assert np.allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-4)
        assert np.allclose(written.GetSpacing(), image.GetSpacing(), atol=1e-4)
        assert np.allclose(written.GetDirection(), image.GetDirection(), atol=1e-4)


@pytest.mark.parametrize("ending", [".nii", ".seg.nrrd", ".nrrd", ".mha"])
def test_the_name_of_the_output_chooses_the_format(tmp_path, scans, segmenter, ending):
    file = tmp_path / f"labels{ending}"
    result = segment_files(scans / "a_0000.nii.gz", file, segmenter)
    assert result.rows[0]["output"] == str(file)
    assert read_labels(file).array.any()
    assert file.read_bytes()[:4] == {".nii": b"\x5c\1\0\0", ".mha": b"Obje"}.get(ending, b"NRRD")


def test_a_hospital_export_is_taken_by_studies(tmp_path, study, segmenter, capfd):
    """Patients, studies, series of several kinds: each study once, what was taken is said."""
    import shutil

    import pydicom

    from tests.io.series import Series, enhanced, save

    tree = tmp_path / "export"
    axial = [pydicom.dcmread(path) for path in sorted(study.iterdir())]
    for number, (patient, name) in enumerate([("P1", "S1"), ("P1", "S2"), ("P2", "S1")]):
        place = tree / patient / name / "portal"
        place.mkdir(parents=True)
        for index, header in enumerate(axial):
            header.StudyInstanceUID, header.PatientID = f"1.2.3.{number}", patient
            save(header, place / f"{index}.dcm")
        shutil.copytree(place, place.with_name("thin"))
        for path in (place.parent / "thin").iterdir():  # the same body, another kernel
            header = pydicom.dcmread(path)
            header.SeriesInstanceUID, header.SeriesNumber = f"1.2.3.{number}.9", 9
            header.ConvolutionKernel = "LUNG"
            save(header, path)
    (tree / "P2" / "README.txt").write_text("exported")
    result = segment_files(tree, tmp_path / "out", segmenter)
    assert [row["id"] for row in result.rows] == ["P1_S1", "P1_S2", "P2"]
    for row in result.rows:
        (line,) = [line for line in row["warnings"] if line.startswith("took CT series 3")]
        assert "passed over 9: 14 images" in line
        assert "LUNG" in line
    # One study alone: a person can be asked.
    assert main(["segment", str(tree / "P2" / "S1"), "-o", str(tmp_path / "l.nii.gz")]) == 2
    assert "holds 2 CT series that could be meant" in capfd.readouterr().err
    series = Series(stored=read_stored(study), spacing=(4.0, 4.0, 5.0))
    alone = segment_files(enhanced(series, tmp_path / "e.dcm"), tmp_path / "e.nii.gz", segmenter)
    first = read_labels(tmp_path / "out" / "P2.nii.gz")
    assert alone.failures == ()
    assert np.array_equal(read_labels(tmp_path / "e.nii.gz").array, first.array)


def read_stored(study) -> np.ndarray:
    """The stored values of a series, from feet to head."""
    from nnstudent.io.dicom.series import read_series

    return read_series(study).volume.array + 1024
