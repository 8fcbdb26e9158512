"""What is written for a series is read back by other programs: the same anatomy in place."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.io.nifti import write_labels
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")
import nibabel as nib  # noqa: E402

from tests.io.dicom.objects import (  # noqa: E402
    assert_holds_the_anatomy,
    drawn,
    labeled,
    labels_of,
)
from tests.io.series import ORIENTATIONS, Series, anatomical, anatomy, places, save  # noqa: E402


@pytest.mark.parametrize(("row", "column", "turned"), ORIENTATIONS)
def test_the_same_anatomy_in_every_orientation(tmp_path, row, column, turned):
    source = anatomical(row, column, turned)
    series = read_series(source.write(tmp_path / "s"))
    labels = labels_of(series)
    assert np.array_equal(
        series.volume.array + 1024, 100 * labels.array.astype(int)
    )  # read right, before anything is written

    write_seg(tmp_path / "l.seg.dcm", labeled(labels, series))
    assert_holds_the_anatomy(tmp_path / "l.seg.dcm")

    write_rtstruct(tmp_path / "l.rtstruct.dcm", labeled(labels, series))
    headers = sorted(
        source.slices, key=lambda h: float(np.array(h.ImagePositionPatient) @ source.normal)
    )
    assert np.array_equal(
        drawn(pydicom.dcmread(tmp_path / "l.rtstruct.dcm"), headers),
        anatomy(places(source.affine, (12, 16, 18))),
    )

    write_seg_nrrd(tmp_path / "l.seg.nrrd", labels, taxonomy=flare23())
    array, header = nrrd.read(str(tmp_path / "l.seg.nrrd"))
    affine = np.column_stack([header["space directions"].T, header["space origin"]])
    assert header["space"] == "left-posterior-superior"
    assert np.array_equal(array.T, anatomy(places(affine, array.T.shape)))

    write_labels(tmp_path / "l.nii.gz", labels)
    image = nib.load(tmp_path / "l.nii.gz")
    array = np.asarray(image.dataobj).T
    assert np.array_equal(
        array, anatomy(places(np.diag([-1, -1, 1, 1]) @ image.affine, array.shape))
    )


@pytest.fixture
def written(tmp_path):
    """A series, its labels, and both DICOM objects made of them."""
    source = anatomical(*ORIENTATIONS[0])
    for header in source.slices:
        header.PatientComments, header.PatientAge = "Secretcomment", "064Y"
        header.InstitutionName, header.PerformingPhysicianName = "Secretplace", "Secretdoctor"
    series = read_series(source.write(tmp_path / "s"))
    labels = labels_of(series)
    write_seg(tmp_path / "l.seg.dcm", labeled(labels, series))
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labeled(labels, series))
    return (
        source,
        series,
        labels,
        [pydicom.dcmread(tmp_path / f"l.{name}.dcm") for name in ("seg", "rtstruct")],
    )


def test_a_seg_states_its_source_and_its_algorithm(written):
    source, _, labels, (seg, _) = written
    table = flare23()
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [
        "Liver",
        "Right adrenal gland",
        "Left adrenal gland",
        "Tumor",
    ]
    for segment, id in zip(seg.SegmentSequence, (1, 7, 8, 14), strict=True):
        item = table.by_id(id)
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == (item.snomed, "SCT")
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("nnStudent test", "1.2.3")
        assert "0123456789abcdef" in algorithm.AlgorithmParameters
        color = hd.color.CIELabColor.from_dicom_value(
            segment.RecommendedDisplayCIELabValue
        ).to_rgb()
        assert color == pytest.approx(item.color, abs=1)
    uids = {header.SOPInstanceUID for header in source.slices}
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.uid
    for frame in seg.PerFrameFunctionalGroupsSequence:
        assert (
            frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID in uids
        )
    assert seg.StudyInstanceUID == source.study
    assert seg.SeriesInstanceUID != source.uid
    assert (seg.SeriesNumber, seg.FrameOfReferenceUID) == (1003, source.frame_of_reference)
    assert seg.NumberOfFrames == sum(
        np.any(labels.array == id, axis=(1, 2)).sum() for id in (1, 7, 8, 14)
    )  # empty ones are left out


def test_an_rtstruct_states_its_source(written):
    source, _, _, (_, structures) = written
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == [
        "Liver",
        "Right adrenal gland",
        "Left adrenal gland",
        "Tumor",
    ]
    assert [list(region.ROIDisplayColor) for region in structures.ROIContourSequence] == [
        list(flare23().by_id(i).color) for i in (1, 7, 8, 14)
    ]
    assert [o.RTROIInterpretedType for o in structures.RTROIObservationsSequence] == [
        "ORGAN",
        "ORGAN",
        "ORGAN",
        "",
    ]
    study = structures.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    assert study.ReferencedSOPInstanceUID == structures.StudyInstanceUID == source.study
    images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert {image.ReferencedSOPInstanceUID for image in images} == {
        header.SOPInstanceUID for header in source.slices
    }


def test_only_the_patient_data_that_a_study_needs_is_copied(written):
    source, _, _, objects = written
    for made in objects:
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "AccessionNumber",
            "StudyID",
        ):
            assert made[keyword].value == source.slices[0][keyword].value
        assert {
            "StudyDescription",
            "PatientComments",
            "PatientAge",
            "InstitutionName",
            "PerformingPhysicianName",
        }.isdisjoint(made.dir())
        assert str(made).count("Secret") == 1  # the name
        assert made.Manufacturer == "nnStudent"


@pytest.mark.parametrize(
    "damage", ["StudyID", "PatientSex", "PatientBirthDate", "AccessionNumber", "StudyDate"]
)
def test_sources_with_gaps_and_malformed_values_are_accepted(tmp_path, damage, capfd):
    source = Series()
    for number, header in enumerate(source.slices):
        if number % 2 or damage in ("StudyID", "AccessionNumber"):
            delattr(header, damage)
        else:
            header.add_new(damage, header[damage].VR, "Secretoddity")
    series = read_series(source.write(tmp_path / "s"))
    capfd.readouterr()
    labels = Volume((series.volume.array > 0).astype(np.uint8), series.volume.grid)
    labels.array[2, 2:4, 2:4] = 1
    for write, name in ((write_seg, "l.seg.dcm"), (write_rtstruct, "l.rtstruct.dcm")):
        write(tmp_path / name, labeled(labels, series))
        assert pydicom.dcmread(tmp_path / name)[damage].value in ("", None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_objects_that_cannot_be_written_are_errors(tmp_path, write, monkeypatch):
    source = Series()
    series = read_series(source.write(tmp_path / "s"))
    empty = Volume(np.zeros(series.volume.grid.shape, np.uint8), series.volume.grid)
    with pytest.raises(InputError, match="nothing was found"):
        labeled(empty, series)
    full = Volume(np.ones(series.volume.grid.shape, np.uint8), series.volume.grid)
    with monkeypatch.context() as patch:
        for module in ("highdicom", "contourpy"):
            patch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=r"nnstudent\[dicom\]"):
            write(tmp_path / "l.dcm", labeled(full, series))
    for header in source.slices:
        del header.FrameOfReferenceUID
    source.write(tmp_path / "s")
    with pytest.raises(InputError, match="FrameOfReferenceUID is missing"):
        labeled(full, series)
    assert not (tmp_path / "l.dcm").exists()


def test_a_straightened_series_is_labeled_on_its_own_slices(tmp_path):
    """With a tilted gantry and a missing slice, the objects still lie on the original slices."""
    source = Series(stored=np.full((7, 12, 14), 1064))
    for k, header in enumerate(source.slices):
        header.ImagePositionPatient = [-20.0, -30.0 + 0.6 * k, 100.0 + 2.5 * k]
    del source.slices[4]
    series = read_series(source.write(tmp_path / "s"))
    assert series.volume.grid.shape[0] == 7
    assert len(series.warnings) == 2
    labels = Volume((series.volume.array > 0).astype(np.uint8), series.volume.grid)
    write_seg(tmp_path / "l.seg.dcm", labeled(labels, series))
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labeled(labels, series))
    seg = hd.seg.segread(tmp_path / "l.seg.dcm")
    places = sorted(
        list(frame.PlanePositionSequence[0].ImagePositionPatient)
        for frame in seg.PerFrameFunctionalGroupsSequence
    )
    assert places == sorted(list(header.ImagePositionPatient) for header in source.slices)
    mask = seg.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in source.slices], combine_segments=True
    )
    assert (mask == series.stack.on_slices(labels)).all()
    assert mask.mean() > 0.8
    assert np.array_equal(drawn(pydicom.dcmread(tmp_path / "l.rtstruct.dcm"), source.slices), mask)


def test_enhanced_ct_is_referred_to_by_frame(tmp_path):
    source = anatomical(*ORIENTATIONS[0])
    header = source.slice(0)
    header.SOPClassUID, header.NumberOfFrames, header.ImageType = (
        "1.2.840.10008.5.1.4.1.1.2.1",
        12,
        ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    )
    order = [3, 1, 0, 2, 4, 5, 6, 7, 11, 10, 9, 8]
    header.PixelData = source.stored[order].astype("<u2").tobytes()
    shared = pydicom.Dataset()
    for name, tags in (
        ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
        ("PixelMeasuresSequence", ["PixelSpacing", "SliceThickness"]),
        ("PixelValueTransformationSequence", ["RescaleSlope", "RescaleIntercept"]),
    ):
        part = pydicom.Dataset()
        for tag in tags:
            part[tag] = header[tag]
            del header[tag]
        setattr(shared, name, [part])
    frames = []
    for k in order:
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = source.slices[k].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    del header.ImagePositionPatient
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = (
        [shared],
        frames,
    )
    (tmp_path / "s").mkdir()
    save(header, tmp_path / "s" / "IM0")
    series = read_series(tmp_path / "s")
    labels = labels_of(series)
    assert np.array_equal(series.volume.array + 1024, 100 * labels.array.astype(int))
    write_seg(tmp_path / "l.seg.dcm", labeled(labels, series))
    assert_holds_the_anatomy(tmp_path / "l.seg.dcm")
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labeled(labels, series))
    contour = pydicom.dcmread(tmp_path / "l.rtstruct.dcm").ROIContourSequence[0].ContourSequence[0]
    frame = contour.ContourImageSequence[0].ReferencedFrameNumber
    assert contour.ContourData[2] == pytest.approx(
        source.slices[order[frame - 1]].ImagePositionPatient[2], abs=1e-3
    )


def test_what_is_to_be_said_of_a_class_is_in_both_objects(tmp_path):
    row, column, turned = ORIENTATIONS[0]
    series = read_series(anatomical(row, column, turned).write(tmp_path / "s"))
    plain = labeled(labels_of(series), series)
    note = "expected Dice 0.91 (0.84 to 0.95), pass"
    noted = replace(plain, notes={plain.classes[0].name: note})
    write_seg(tmp_path / "l.seg.dcm", noted)
    write_rtstruct(tmp_path / "l.rtstruct.dcm", noted)
    first, *others = pydicom.dcmread(tmp_path / "l.seg.dcm").SegmentSequence
    assert first.SegmentDescription == note
    assert not any("SegmentDescription" in segment for segment in others)
    first, *others = pydicom.dcmread(tmp_path / "l.rtstruct.dcm").StructureSetROISequence
    assert first.ROIDescription == note
    assert not any("ROIDescription" in roi for roi in others)
