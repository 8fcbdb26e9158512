"""Structured reports, read back by highdicom."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.io.dicom.sr import Finding, write_sr
from nnstudent.io.terms import meaning, type_code
from nnstudent.taxonomy import flare23

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
from pydicom.sr.codedict import codes  # noqa: E402

from tests.io.dicom.objects import ALGORITHM, labeled, labels_of  # noqa: E402
from tests.io.series import ORIENTATIONS, anatomical, enhanced  # noqa: E402

FINDINGS = {
    "liver": Finding(1512.3456, 101.26, 18.04, True, (0.953, 0.9, 0.98)),
    "right_adrenal_gland": Finding(3.2),
    "tumor": Finding(12.0, -4.0, 9.0),
}


@pytest.fixture
def made(tmp_path):
    series = read_series(anatomical(*ORIENTATIONS[3]).write(tmp_path / "s"))
    return labeled(labels_of(series), series)


def groups_of(path, *, kind: str):
    content = hd.sr.srread(path).content
    found = (
        content.get_volumetric_roi_measurement_groups()
        if kind == "segments"
        else content.get_image_measurement_groups()
    )
    return {group.tracking_identifier: group for group in found}


def values(group):
    """Name, derivation, value and unit of each measurement."""
    return [
        (
            item.name.meaning,
            None if item.derivation is None else item.derivation.meaning,
            item.value,
            item.unit.value,
        )
        for item in group.get_measurements()
    ]


@pytest.mark.parametrize("kind", ["segments", "images"])
def test_each_class_has_its_code_and_its_measurements(tmp_path, made, kind):
    seg = None
    if kind == "segments":
        write_seg(tmp_path / "l.seg.dcm", made)
        seg = made.identity
    write_sr(tmp_path / "l.sr.dcm", made, FINDINGS, segmentation=seg)
    groups = groups_of(tmp_path / "l.sr.dcm", kind=kind)
    assert list(groups) == ["Liver", "Right adrenal gland", "Tumor"]
    for name in FINDINGS:
        item = flare23()[name]
        group = groups[meaning(item)]
        assert group.finding_type.value == type_code(item).value == item.snomed
    assert values(groups["Liver"]) == [
        ("Volume", None, 1512.346, "mL"),
        ("Attenuation Coefficient", "Mean", 101.3, "[hnsf'U]"),
        ("Attenuation Coefficient", "Standard Deviation", 18.0, "[hnsf'U]"),
        ("Expected Dice coefficient", None, 0.953, "1"),
    ]
    assert values(groups["Right adrenal gland"]) == [("Volume", None, 3.2, "mL")]
    border = {
        name: [
            item.value.meaning
            for item in group.get_qualitative_evaluations()
            if item.name.meaning == "Touches the border of the image"
        ]
        for name, group in groups.items()
    }
    assert border == {"Liver": ["Yes"], "Right adrenal gland": ["No"], "Tumor": ["No"]}


def test_it_refers_to_the_segments_and_to_every_slice(tmp_path, made):
    write_seg(tmp_path / "l.seg.dcm", made)
    write_sr(tmp_path / "l.sr.dcm", made, FINDINGS, segmentation=made.identity)
    seg = hd.seg.segread(tmp_path / "l.seg.dcm")
    report = hd.sr.srread(tmp_path / "l.sr.dcm")
    for name, group in groups_of(tmp_path / "l.sr.dcm", kind="segments").items():
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        (number,) = segment.referenced_segment_numbers
        assert seg.get_segment_description(number).segment_label == name
    evidence = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    slices = {(made.origin.series, file.uid) for file in made.origin.files.values()}
    assert evidence == slices | {(seg.SeriesInstanceUID, seg.SOPInstanceUID)}
    assert report.StudyInstanceUID == made.origin.study
    assert report.SeriesInstanceUID not in {uid for uid, _ in evidence}


def test_it_states_what_made_it_and_that_nobody_verified_it(tmp_path, made):
    write_sr(tmp_path / "l.sr.dcm", made, FINDINGS)
    report = pydicom.dcmread(tmp_path / "l.sr.dcm")
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.SeriesNumber == made.origin.number + 1002
    assert report.ManufacturerModelName == ALGORITHM.name
    assert report.DeviceSerialNumber == ALGORITHM.model
    assert str(report.PatientName) == str(made.origin.texts.values["PatientName"])
    assert ALGORITHM.version in str(report)
    assert codes.DCM.ImagingMeasurementReport.value in str(report)


def test_the_interval_of_the_expected_dice_is_there(tmp_path, made):
    write_sr(tmp_path / "l.sr.dcm", made, FINDINGS)
    group = groups_of(tmp_path / "l.sr.dcm", kind="images")["Liver"]
    around = {
        item.ConceptNameCodeSequence[0].CodeMeaning[0]: item.MeasuredValueSequence[0].NumericValue
        for item in group.get_measurements()[-1][0].ContentSequence
    }
    assert around == {"+": 0.027, "-": 0.053}


def test_a_source_of_many_frames_is_referred_to(tmp_path):
    source = anatomical(*ORIENTATIONS[0])
    (tmp_path / "e").mkdir()
    path = enhanced(source, tmp_path / "e" / "image.dcm")
    series = read_series(path.parent)
    made = labeled(labels_of(series), series)
    write_sr(tmp_path / "l.sr.dcm", made, FINDINGS)
    (file,) = made.origin.files.values()
    report = pydicom.dcmread(tmp_path / "l.sr.dcm")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    ((item,),) = (entry.ReferencedSOPSequence for entry in study.ReferencedSeriesSequence)
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (file.sop_class, file.uid)


def test_classes_that_were_not_found_are_not_reported(tmp_path, made):
    write_sr(tmp_path / "l.sr.dcm", made, {**FINDINGS, "spleen": Finding(1.0)})
    assert "Spleen" not in groups_of(tmp_path / "l.sr.dcm", kind="images")


def test_what_highdicom_refuses_is_one_line_and_leaves_nothing(tmp_path, made):
    broken = replace(made, algorithm=replace(ALGORITHM, model=None))
    with pytest.raises(InputError, match="cannot report on this series"):
        write_sr(tmp_path / "out" / "l.sr.dcm", broken, FINDINGS)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_names_the_extra(tmp_path, made, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"nnstudent\[dicom\]"):
        write_sr(tmp_path / "l.sr.dcm", made, FINDINGS)
