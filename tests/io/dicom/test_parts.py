"""Several volumes in one series are separated if DICOM distinguishes them, otherwise refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnstudent.errors import GeometryError, InputError
from nnstudent.io.dicom.series import read_series

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
from pydicom.uid import generate_uid  # noqa: E402

from tests.io.series import COLUMNS, ROWS, Series, save  # noqa: E402

MM = 5.0


def mixed(folder, *volumes, tag="AcquisitionNumber", values=(1, 2), order=None):
    """Volumes at heights in mm in one series, each with its own stored value and tag value."""
    series = Series(slices=1)
    number = itertools.count(1)
    for place, (heights, value) in enumerate(zip(volumes, values, strict=True)):
        for height in heights:
            header = series.slice(0)
            header.ImagePositionPatient = [-20.0, -30.0, float(height)]
            header.InstanceNumber = next(number)
            header.PixelData = np.full((ROWS, COLUMNS), 1000 * (place + 1), "<u2").tobytes()
            if tag:
                setattr(header, tag, value(height) if callable(value) else value)
            if order:
                order(header, place, height)
            save(header, _place(folder) / f"{header.InstanceNumber:03d}.dcm")
    return folder


def _place(folder):
    folder.mkdir(exist_ok=True)
    return folder


WHERE = {
    "interleaved evenly": (np.arange(8) * 2 * MM, np.arange(8) * 2 * MM + MM),
    "interleaved unevenly": (np.arange(8) * 2 * MM, np.arange(8) * 2 * MM + 3),
    "at the same places": (np.arange(8) * MM, np.arange(8) * MM),
    "overlapping": (np.arange(8) * MM, np.arange(8) * MM + 22.2),
    "touching": (np.arange(8) * MM, np.arange(8) * MM + 7 * MM),
    "far apart": (np.arange(8) * MM, np.arange(8) * MM + 100),
}


TOLD = [
    *((where, "AcquisitionNumber", (1, 2)) for where in WHERE),
    *(
        ("interleaved evenly", *told)
        for told in (
            ("AcquisitionTime", ("101010", "101055.5")),
            ("StackID", ("1", "2")),
            ("TemporalPositionIdentifier", (1, 2)),
            ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"])),
            ("ConvolutionKernel", ("B30f", "B70f")),
            ("KVP", (80, 140)),
            ("TriggerTime", (10, 400)),
            ("FrameOfReferenceUID", (generate_uid(), generate_uid())),
            ("PatientID", ("P1", "P2")),
            ("AcquisitionTime", (lambda z: f"1010{z / 10:09.6f}", lambda z: f"1011{z / 10:09.6f}")),
        )
    ),
]


@pytest.mark.parametrize(("where", "tag", "values"), TOLD)
def test_volumes_that_dicom_distinguishes_are_separated(tmp_path, where, tag, values):
    """Of every two one is taken: never both in one volume, whatever lies where."""
    folder = mixed(tmp_path / "s", *WHERE[where], tag=tag, values=values)
    for number, stored in (("3.1", 1000), ("3.2", 2000)):
        read = read_series(folder, series=number)
        assert len(read.stack.slices) == 8
        assert np.unique(read.volume.array) == stored - 1024
    read = read_series(folder, ask=False)
    assert len(np.unique(read.volume.array)) == 1
    assert read.warnings[0].startswith("took CT series 3.")
    if tag == "ImageType":  # one is derived: nobody need be asked
        assert np.unique(read_series(folder).volume.array) == 1000 - 1024
        return
    said = "pass 1 in the order of AcquisitionTime" if callable(values[0]) else tag
    with pytest.raises(
        InputError, match=rf"2 CT series that could be meant \(3\.1: 8 images.*{said}.*; 3\.2: "
    ) as error:
        read_series(folder)
    assert "P1" not in str(error.value)
    with pytest.raises(InputError, match="CT series 3 holds 2 volumes"):
        read_series(folder, series="3")


def test_phases_and_kernels_together(tmp_path):
    heights = np.arange(6) * MM
    four = [(1, "B30f"), (1, "B70f"), (2, "B30f"), (2, "B70f")]

    def kernel(header, place, height):
        header.ConvolutionKernel = four[place][1]

    folder = mixed(
        tmp_path / "s", *[heights] * 4, values=[phase for phase, _ in four], order=kernel
    )
    for number, stored in (("3.1", 1000), ("3.2", 2000), ("3.3", 3000), ("3.4", 4000)):
        assert np.unique(read_series(folder, series=number).volume.array) == stored - 1024
    assert (
        "3.1: 6 images of 8×6, axial, B30f, AcquisitionNumber 1, ConvolutionKernel B30f"
        in read_series(folder, ask=False).warnings[0]
    )


@pytest.mark.parametrize("tag", ["ContentTime", "InstanceNumber"])
def test_two_passes_that_only_their_order_tells_apart(tmp_path, tag):
    folder = mixed(tmp_path / "s", *WHERE["overlapping"], tag="", values=(0, 0))
    assert np.unique(read_series(folder, series="3.2").volume.array) == 2000 - 1024


def test_parts_that_are_not_stacks_are_refused_with_their_differences(tmp_path):
    one, two = np.array([0, 5, 10, 13, 25]), np.array([2, 7, 11, 19, 22])
    folder = mixed(tmp_path / "s", one, two)
    with pytest.raises(GeometryError, match=r"differ in AcquisitionNumber \(1, 2\)"):
        read_series(folder)


def test_two_pictures_at_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    heights = np.arange(6) * MM
    one = mixed(tmp_path / "s", heights, tag="", values=(0,))
    for path in list(one.iterdir()):
        header = pydicom.dcmread(path)
        header.SOPInstanceUID, header.PixelData = generate_uid(), bytes(2 * ROWS * COLUMNS)
        save(header, one / f"again{path.name}")
    with pytest.raises(GeometryError, match="two different pictures at one place"):
        read_series(one)


def test_acquisitions_one_behind_the_other_are_one_scan(tmp_path):
    """Step and shoot, and breath holds whose slices go on where the last ones ended."""
    folder = mixed(
        tmp_path / "s", *[np.arange(4) * MM + 4 * MM * k for k in range(4)], values=(1, 2, 3, 4)
    )
    read = read_series(folder)
    assert len(read.stack.slices) == 16
    assert read.warnings == ()


def test_slices_that_were_taken_again_are_told(tmp_path):
    first, again = np.array([0, 1, 2, 5, 6, 7]) * MM, np.array([3, 4]) * MM
    read = read_series(mixed(tmp_path / "s", first, again))
    assert len(read.stack.slices) == 8
    assert read.warnings == (
        "the slices differ in AcquisitionNumber (1, 2) and make one stack: taken as one volume",
    )


def test_each_slice_with_its_own_time_or_number_is_one_scan(tmp_path):
    def own(header, place, height):
        header.AcquisitionNumber = int(height)
        header.AcquisitionTime = f"101{500 - height:07.2f}"
        header.FrameOfReferenceUID = generate_uid()

    assert (
        read_series(mixed(tmp_path / "s", np.arange(9) * MM, values=(0,), order=own)).warnings == ()
    )


def test_a_number_written_in_two_ways_is_one(tmp_path):
    def voltage(header, place, height):
        header.KVP = ("120", "120.0")[int(height / MM) % 2]

    assert (
        read_series(mixed(tmp_path / "s", np.arange(9) * MM, values=(1,), order=voltage)).warnings
        == ()
    )


def test_localizers_in_a_series_of_several_volumes_are_left_out(tmp_path):
    folder = mixed(tmp_path / "s", *WHERE["interleaved evenly"])
    scout = Series(slices=1).slice(0)
    scout.SeriesInstanceUID = pydicom.dcmread(folder / "001.dcm").SeriesInstanceUID
    scout.ImageOrientationPatient = [0.0, 1, 0, 0, 0, -1]
    save(scout, folder / "scout")
    read = read_series(folder, ask=False)
    assert len(read.stack.slices) == 8
    assert "1 image is turned against the others, as localizers are, and left out" in read.warnings


def test_volumes_of_another_size_or_direction_are_separated(tmp_path):
    axial, coronal = Series(number=3, slices=9), Series(number=3, column=(0, 0, -1), slices=6)
    fine = Series(number=3, stored=np.zeros((5, 4, 4)))
    for other in (coronal, fine):
        for header in other.slices:
            header.SeriesInstanceUID = axial.uid
    for name, series in (("a", axial), ("c", coronal), ("f", fine)):
        series.write(tmp_path / name)
    with pytest.raises(
        InputError,
        match=r"2 CT series that could be meant "
        r"\(3\.1: 9 images of 8×6, axial; 3\.\d: 5 images of 4×4, axial",
    ):
        read_series(tmp_path)
    assert read_series(tmp_path, ask=False).volume.array.shape == (9, ROWS, COLUMNS)


@pytest.mark.parametrize("off", [0.001, 0.002, 0.005, 0.009])
def test_rounded_directions_lose_no_slice(tmp_path, off):
    series = Series(slices=12)
    for header in series.slices[::3]:
        header.ImageOrientationPatient = [1.0, off, 0.0, 0.0, 1.0, -off]
    read = read_series(series.write(tmp_path / "s"))
    assert len(read.stack.slices) == 12
    assert np.array_equal(read.volume.array + 1024, series.stored)
    lps = series.origin + 11 * series.spacing[2] * series.normal + [7 * 0.5, 5 * 0.75, 0]
    index = np.linalg.inv(read.volume.grid.affine) @ (*(lps * (-1, -1, 1)), 1)
    assert np.abs(index[:3] - (7, 5, 11)).max() < 0.1


def test_the_effect_of_rounded_directions_is_a_warning(tmp_path):
    series = Series(stored=np.zeros((6, 400, 400)), spacing=(1.0, 1.0, 2.5))
    for header in series.slices[::2]:
        header.ImageOrientationPatient = [1.0, 0.006, 0.0, 0.0, 1.0, 0.0]
    (warning,) = read_series(series.write(tmp_path / "s")).warnings
    assert "differ, by up to 0.0" in warning
    assert "mm at the far corner" in warning


def test_directions_that_contradict_each_other_are_refused(tmp_path):
    series = Series(slices=12)
    for header in series.slices[::3]:
        header.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 0.9994, 0.035]
    with pytest.raises(GeometryError, match=r"differ by 0\.035, more than rounding explains"):
        read_series(series.write(tmp_path / "s"))


def test_stacks_of_an_enhanced_ct_are_separated(tmp_path):
    """Two temporal positions in one file of many frames."""
    plain = Series(slices=8)
    header = plain.slice(0)
    header.SOPClassUID, header.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.2.1", 16
    header.PixelData = np.concatenate([plain.stored, plain.stored + 500]).astype("<u2").tobytes()
    shared, frames = pydicom.Dataset(), []
    orientation, measures, values = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = (
        header.ImageOrientationPatient,
        header.PixelSpacing,
    )
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    for k in range(16):
        position, content, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = plain.slices[k % 8].ImagePositionPatient
        content.TemporalPositionIndex = k // 8 + 1
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = (
        [shared],
        frames,
    )
    for tag in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(header, tag)
    folder = _place(tmp_path / "s")
    save(header, folder / "IM0")
    for number, more in (("3.1", 0), ("3.2", 500)):
        read = read_series(folder, series=number)
        assert np.array_equal(read.volume.array + 1024, plain.stored + more)
    with pytest.raises(InputError, match="TemporalPositionIndex 2"):
        read_series(folder)
    frames[3].PlanePositionSequence[0].ImagePositionPatient = None
    save(header, folder / "IM0")
    with pytest.raises(GeometryError, match=r"IM0: ImagePositionPatient is missing"):
        read_series(folder)
