"""What is written of a series, read back by others: the same anatomy at the same place in the patient."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.dicom.derived import Algorithm
from nnstudent.io.dicom.rtstruct import outlines, write_rtstruct
from nnstudent.io.dicom.seg import write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.io.nifti import write_labels
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass, flare23
from nnstudent.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")
import nibabel as nib  # noqa: E402

from tests.io.series import ORIENTATIONS, Series, anatomical, anatomy, places, save  # noqa: E402

ALGORITHM = Algorithm("nnStudent test", "1.2.3", "0123456789abcdef")
IDS = {meaning(item): item.id for item in flare23()}


def labels_of(series) -> Volume:
    """The anatomy, at the voxels of the volume that was read."""
    return Volume(
        anatomy(
            places(np.diag([-1, -1, 1, 1]) @ series.volume.grid.affine, series.volume.grid.shape)
        ),
        series.volume.grid,
    )


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points (..., 2) lie in a polygon, by the even-odd rule."""
    x, y = points[..., 0, None], points[..., 1, None]
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return crossed.sum(axis=-1) % 2 == 1


def drawn(structures, headers) -> np.ndarray:
    """The labels of an RTSTRUCT on the planes of its series, (slice, row, column)."""
    planes = {
        header.SOPInstanceUID: np.zeros((header.Rows, header.Columns), np.uint8)
        for header in headers
    }
    names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
    for region in structures.ROIContourSequence:
        for contour in region.ContourSequence:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            (header,) = (h for h in headers if h.SOPInstanceUID == uid)
            away = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(
                header.ImagePositionPatient, float
            )
            row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
            assert np.abs(away @ np.cross(row, column)).max() < 0.01  # in its plane
            corners = np.stack(
                [away @ row / header.PixelSpacing[1], away @ column / header.PixelSpacing[0]],
                axis=1,
            )
            grid = np.stack(np.indices((header.Rows, header.Columns))[::-1], axis=-1)
            planes[uid][inside(grid, corners)] = IDS[names[region.ReferencedROINumber]]
    return np.stack([planes[header.SOPInstanceUID] for header in headers])


def assert_holds_the_anatomy(path):
    seg = hd.seg.segread(path)
    found = seg.get_volume(combine_segments=True)
    numbers = np.array(
        [0, *(IDS[seg.get_segment_description(n).segment_label] for n in seg.segment_numbers)]
    )
    index = np.stack([*np.indices(found.spatial_shape), np.ones(found.spatial_shape)], axis=-1)
    assert np.array_equal(numbers[found.array], anatomy(index @ found.affine[:3].T))


@pytest.mark.parametrize(("row", "column", "turned"), ORIENTATIONS)
def test_the_same_anatomy_in_every_orientation(tmp_path, row, column, turned):
    source = anatomical(row, column, turned)
    series = read_series(source.write(tmp_path / "s"))
    labels = labels_of(series)
    assert np.array_equal(
        series.volume.array + 1024, 100 * labels.array.astype(int)
    )  # read right, before anything is written

    write_seg(tmp_path / "l.seg.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    assert_holds_the_anatomy(tmp_path / "l.seg.dcm")

    write_rtstruct(tmp_path / "l.rtstruct.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    headers = sorted(
        source.slices, key=lambda h: float(np.array(h.ImagePositionPatient) @ source.normal)
    )
    assert np.array_equal(
        drawn(pydicom.dcmread(tmp_path / "l.rtstruct.dcm"), headers),
        anatomy(places(source.affine, (12, 16, 18))),
    )

    write_seg_nrrd(tmp_path / "l.seg.nrrd", labels, flare23())
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
    write_seg(tmp_path / "l.seg.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    return (
        source,
        series,
        labels,
        [pydicom.dcmread(tmp_path / f"l.{name}.dcm") for name in ("seg", "rtstruct")],
    )


def test_seg_says_what_it_is_of_and_what_made_it(written):
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


def test_rtstruct_says_what_it_is_of(written):
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


def test_of_the_patient_only_what_the_study_needs_is_taken_over(written):
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
def test_a_source_with_gaps_and_oddities_will_do(tmp_path, damage, capfd):
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
        write(tmp_path / name, labels, series, flare23(), algorithm=ALGORITHM)
        assert pydicom.dcmread(tmp_path / name)[damage].value in ("", None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_what_cannot_be_written_is_said(tmp_path, write, monkeypatch):
    source = Series()
    series = read_series(source.write(tmp_path / "s"))
    empty = Volume(np.zeros(series.volume.grid.shape, np.uint8), series.volume.grid)
    with pytest.raises(InputError, match="nothing was found"):
        write(tmp_path / "l.dcm", empty, series, flare23(), algorithm=ALGORITHM)
    full = Volume(np.ones(series.volume.grid.shape, np.uint8), series.volume.grid)
    with monkeypatch.context() as patch:
        for module in ("highdicom", "contourpy"):
            patch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=r"nnstudent\[dicom\]"):
            write(tmp_path / "l.dcm", full, series, flare23(), algorithm=ALGORITHM)
    for header in source.slices:
        del header.FrameOfReferenceUID
    source.write(tmp_path / "s")
    with pytest.raises(InputError, match="FrameOfReferenceUID is missing"):
        write(tmp_path / "l.dcm", full, series, flare23(), algorithm=ALGORITHM)
    assert not (tmp_path / "l.dcm").exists()


def test_a_straightened_series_is_labeled_on_its_own_slices(tmp_path):
    """The gantry was tilted and a slice is missing: the objects lie on the slices as they were taken, all of them."""
    source = Series(stored=np.full((7, 12, 14), 1064))
    for k, header in enumerate(source.slices):
        header.ImagePositionPatient = [-20.0, -30.0 + 0.6 * k, 100.0 + 2.5 * k]
    del source.slices[4]
    series = read_series(source.write(tmp_path / "s"))
    assert series.volume.grid.shape[0] == 7
    assert len(series.warnings) == 2
    labels = Volume((series.volume.array > 0).astype(np.uint8), series.volume.grid)
    write_seg(tmp_path / "l.seg.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labels, series, flare23(), algorithm=ALGORITHM)
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
    write_seg(tmp_path / "l.seg.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    assert_holds_the_anatomy(tmp_path / "l.seg.dcm")
    write_rtstruct(tmp_path / "l.rtstruct.dcm", labels, series, flare23(), algorithm=ALGORITHM)
    contour = pydicom.dcmread(tmp_path / "l.rtstruct.dcm").ROIContourSequence[0].ContourSequence[0]
    frame = contour.ContourImageSequence[0].ReferencedFrameNumber
    assert contour.ContourData[2] == pytest.approx(
        source.slices[order[frame - 1]].ImagePositionPatient[2], abs=1e-3
    )


@pytest.mark.parametrize("seed", range(8))
def test_outlines_hold_exactly_the_mask(seed):
    """Noise has everything: islands in holes, corners that touch, voxels at the border."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((23, 31)), seed / 4)
    mask = field > np.quantile(field, 0.4)
    grid = np.stack(np.indices(mask.shape)[::-1], axis=-1)
    pieces = outlines(mask)
    assert np.array_equal(
        sum(inside(grid, ring).astype(int) for ring in pieces), mask.astype(int)
    )  # each voxel in one piece only
    assert all(len(ring) >= 4 for ring in pieces)


def test_a_square_has_few_corners():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 3:8] = True
    (ring,) = outlines(mask)
    assert len(ring) == 8
    assert (ring.min(axis=0) == (2.5, 1.5)).all()
    assert (ring.max(axis=0) == (7.5, 6.5)).all()


def test_nrrd_names_and_colors(tmp_path):
    series = anatomical(*ORIENTATIONS[5])
    labels = labels_of(read_series(series.write(tmp_path / "s")))
    write_seg_nrrd(tmp_path / "l.seg.nrrd", labels, flare23())
    header = nrrd.read_header(str(tmp_path / "l.seg.nrrd"))
    assert [header[f"Segment{n}_Name"] for n in range(4)] == [
        "Liver",
        "Right adrenal gland",
        "Left adrenal gland",
        "Tumor",
    ]
    assert "Segment4_Name" not in header
    for n, id in enumerate((1, 7, 8, 14)):
        assert header[f"Segment{n}_LabelValue"] == str(id)
        assert [round(255 * float(v)) for v in header[f"Segment{n}_Color"].split()] == list(
            flare23().by_id(id).color
        )
        assert f"~SCT^{flare23().by_id(id).snomed}^" in header[f"Segment{n}_Tags"]
        x0, x1, y0, y1, z0, z1 = map(int, header[f"Segment{n}_Extent"].split())
        k, j, i = np.nonzero(labels.array == id)
        assert (x0, x1, y0, y1, z0, z1) == (i.min(), i.max(), j.min(), j.max(), k.min(), k.max())


def test_the_tables_codes_mean_what_it_says():
    """Against the codes that pydicom takes from the standard, as far as it has them; sides are not among them."""
    from pydicom.sr._concepts_dict import concepts

    named: dict[str, str] = {}
    for entry in concepts["SCT"].values():
        for code, (words, _) in entry.items():
            named[code] = f"{named.get(code, '')} {words}"
    checked = [item for item in flare23() if item.snomed in named]
    assert len(checked) == 10
    for item in checked:
        words = {"esophagus": "Esophag", "duodenum": "Duoden", "tumor": "Neoplasm"}.get(
            item.name, meaning(item)
        )
        assert words.lower() in named[item.snomed].lower()
        assert type_code(item).value == item.snomed
        assert category(item).value in named
    bare = LabelClass(1, "thing")
    assert type_code(bare) == category(bare) == ("85756007", "SCT", "Tissue")
