"""What is written for others, judged by others: dciodvfy for the standard, dcmqi and slicerio for
voxels, names, codes and colors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import slicerio

from nnstudent.io.dicom.derived import Algorithm, LabeledSeries
from nnstudent.io.dicom.origin import read_origin
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.io.dicom.sr import Finding, write_sr
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.io.terms import meaning
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.io.series import ORIENTATIONS, anatomical, anatomy, places

ALGORITHM = Algorithm("nnStudent test", "1.2.3", "0123456789abcdef")
FINDINGS = {
    "liver": Finding(1512.346, 101.3, 18.0, True, (0.953, 0.9, 0.98)),
    "tumor": Finding(12.0, -4.0, 9.0),
}
NAMES = {1: "Liver", 7: "Right adrenal gland", 8: "Left adrenal gland", 14: "Tumor"}


@pytest.fixture(scope="module", params=range(0, 48, 7), ids=lambda number: f"orientation{number}")
def made(request, tmp_path_factory) -> Path:
    """A folder with the anatomy in one of the orientations: l.seg.dcm,
    l.rtstruct.dcm, l.seg.nrrd."""
    folder = tmp_path_factory.mktemp("made")
    series = read_series(anatomical(*ORIENTATIONS[request.param]).write(folder / "series"))
    grid = series.volume.grid
    labels = Volume(anatomy(places(np.diag([-1, -1, 1, 1]) @ grid.affine, grid.shape)), grid)
    labeled = LabeledSeries.of(labels, series, taxonomy=flare23(), algorithm=ALGORITHM)
    write_seg(folder / "l.seg.dcm", labeled)
    write_rtstruct(folder / "l.rtstruct.dcm", labeled)
    write_sr(folder / "l.sr.dcm", labeled, FINDINGS, segmentation=labeled.identity)
    write_sr(folder / "images.sr.dcm", labeled, FINDINGS)
    write_seg_nrrd(folder / "l.seg.nrrd", labels, taxonomy=flare23())
    return folder


@pytest.mark.parametrize(
    ("name", "module"), [("l.seg.dcm", "Segmentation"), ("l.rtstruct.dcm", "RTStructureSet")]
)
def test_dciodvfy_finds_nothing_wrong(made, name, module):
    verdict = subprocess.run(
        ["dciodvfy", str(made / name)], capture_output=True, text=True, check=False
    )
    assert (verdict.stdout + verdict.stderr).split() == [module]


@pytest.mark.parametrize("name", ["l.sr.dcm", "images.sr.dcm"])
def test_dciodvfy_knows_all_of_a_report_but_its_own_codes(made, name):
    verdict = subprocess.run(
        ["dciodvfy", str(made / name)], capture_output=True, text=True, check=False
    )
    lines = (verdict.stdout + verdict.stderr).splitlines()
    assert "ComprehensiveSR" in lines
    assert {line for line in lines if line != "ComprehensiveSR"} == {
        "Warning - Unrecognized defined term <99NNSTUDENT> for value 1 of attribute "
        "<Coding Scheme Designator>"
    }


@pytest.mark.parametrize("name", ["l.sr.dcm", "images.sr.dcm"])
def test_dcmqi_reads_the_measurements(made, name):
    import pydicom

    out = made / "report.json"
    reader = Path(sys.executable).with_name("tid1500reader")
    subprocess.run([reader, "--inputDICOM", made / name, "--outputMetadata", out], check=True)
    groups = json.loads(out.read_text())["Measurements"]
    assert [group["TrackingIdentifier"] for group in groups] == ["Liver", "Tumor"]
    for group, finding in zip(groups, FINDINGS.values(), strict=True):
        first, mean, *_ = group["measurementItems"]
        assert float(first["value"]) == finding.volume_ml
        assert first["units"]["CodeValue"] == "mL"
        assert mean["derivationModifier"]["CodeMeaning"] == "Mean"
        assert float(mean["value"]) == finding.mean_hu
    assert groups[0]["Finding"]["CodeValue"] == flare23()["liver"].snomed
    if name == "l.sr.dcm":
        seg = pydicom.dcmread(made / "l.seg.dcm")
        assert [group["ReferencedSegment"] for group in groups] == [1, 4]
        assert groups[0]["segmentationSOPInstanceUID"] == seg.SOPInstanceUID


def test_dciodvfy_finds_what_is_wrong(made):
    import pydicom

    seg = pydicom.dcmread(made / "l.seg.dcm")
    del seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    seg.save_as(made / "broken.dcm")
    verdict = subprocess.run(
        ["dciodvfy", str(made / "broken.dcm")], capture_output=True, text=True, check=False
    )
    assert "Error" in verdict.stdout + verdict.stderr


def test_dcmqi_reads_the_same_voxels_names_codes_and_colors(made):
    out = made / "dcmqi"
    out.mkdir()
    reader = Path(sys.executable).with_name("segimage2itkimage")
    subprocess.run(
        [
            reader,
            "--inputDICOM",
            made / "l.seg.dcm",
            "--outputDirectory",
            out,
            "--outputType",
            "nrrd",
        ],
        check=True,
    )
    (segments,) = zip(
        *json.loads((out / "meta.json").read_text())["segmentAttributes"], strict=True
    )
    assert [segment["SegmentLabel"] for segment in segments] == list(NAMES.values())
    for number, (segment, id) in enumerate(zip(segments, NAMES, strict=True), start=1):
        item = flare23().by_id(id)
        assert segment["SegmentedPropertyTypeCodeSequence"] == {
            "CodeValue": item.snomed,
            "CodingSchemeDesignator": "SCT",
            "CodeMeaning": meaning(item),
        }
        assert segment["SegmentAlgorithmName"] == ALGORITHM.name
        assert segment["recommendedDisplayRGBValue"] == pytest.approx(item.color, abs=1)
        image = SimpleITK.ReadImage(str(out / f"{number}.nrrd"))
        assert np.array_equal(SimpleITK.GetArrayFromImage(image) > 0, anatomy(where(image)) == id)


def test_slicerio_and_itk_read_seg_nrrd(made):
    segmentation = slicerio.read_segmentation(str(made / "l.seg.nrrd"))
    assert slicerio.segment_names(segmentation) == list(NAMES.values())
    for segment, id in zip(segmentation["segments"], NAMES, strict=True):
        item = flare23().by_id(id)
        assert segment["labelValue"] == id
        assert [round(255 * value) for value in segment["color"]] == list(item.color)
        assert segment["terminology"]["type"] == ["SCT", item.snomed, meaning(item)]
    image = SimpleITK.ReadImage(str(made / "l.seg.nrrd"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), anatomy(where(image)))


def without(*keywords):
    def change(header):
        for keyword in keywords:
            del header[keyword]

    return change


def named(terms, name):
    def change(header):
        header.SpecificCharacterSet, header.PatientName = terms, name

    return change


ODD = {
    "no thickness": without("SliceThickness"),
    "no identifiers": without("StudyInstanceUID", "FrameOfReferenceUID"),
    "anonymous": without(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
    ),
    "Japanese": named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Korean": named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese": named("GB18030", "Wang^XiaoDong=王^小东"),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_of_an_odd_series_the_objects_are_as_good(tmp_path, change):
    source = anatomical(*ORIENTATIONS[0])
    for header in source.slices:
        change(header)
    series = read_series(source.write(tmp_path / "series"))
    grid = series.volume.grid
    labels = Volume(anatomy(places(np.diag([-1, -1, 1, 1]) @ grid.affine, grid.shape)), grid)
    labeled = LabeledSeries.of(
        labels,
        series,
        taxonomy=flare23(),
        algorithm=ALGORITHM,
        origin=read_origin(series, new_uids=True),
    )
    for name, write, module in (
        ("l.seg.dcm", write_seg, "Segmentation"),
        ("l.rtstruct.dcm", write_rtstruct, "RTStructureSet"),
    ):
        write(tmp_path / name, labeled)
        verdict = subprocess.run(
            ["dciodvfy", str(tmp_path / name)], capture_output=True, check=False
        )
        said = (verdict.stdout + verdict.stderr).decode("utf-8", "replace")
        assert module in said
        assert "Error" not in said  # it warns of a patient without name
    reader = Path(sys.executable).with_name("segimage2itkimage")
    command = [
        reader,
        "--inputDICOM",
        tmp_path / "l.seg.dcm",
        "--outputDirectory",
        tmp_path,
        "--outputType",
        "nrrd",
    ]
    subprocess.run(command, check=True)
    for number, id in enumerate(NAMES, start=1):
        image = SimpleITK.ReadImage(str(tmp_path / f"{number}.nrrd"))
        assert np.array_equal(SimpleITK.GetArrayFromImage(image) > 0, anatomy(where(image)) == id)


def where(image: SimpleITK.Image) -> np.ndarray:
    """Where the voxels (z, y, x) of an ITK image lie, LPS, mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return places(affine, image.GetSize()[::-1])
