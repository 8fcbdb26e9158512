"""DICOM series with damaged slices, tags of wrong types, other character sets, missing and mixed
slices."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.faults.damage import harm
from tests.faults.outcome import Attack, Result
from tests.faults.sound import SHAPE, series_of
from tests.io.series import save

_FORMATS = (
    "nifti",
    "nifti",
    "nifti,dicom-seg",
    "rtstruct",
    "dicom-seg",
    "seg.nrrd",
    "nifti,dicom-seg,rtstruct,seg.nrrd",
)
# What a tag may not hold, and what it may and hardly ever does.
_VALUES: dict[str, tuple[Any, ...]] = {
    "ImagePositionPatient": (
        None,
        [0, 0],
        [0, 0, 0],
        ["nan", "0", "0"],
        ["1e99", "0", "0"],
        [0, 0, 0, 0],
    ),
    "ImageOrientationPatient": (
        None,
        [1, 0, 0],
        [0] * 6,
        [1, 0, 0, 1, 0, 0],
        ["nan"] * 6,
        [1, 0, 0, 0, 0.9, 0.1],
        [0.7, 0.7, 0, -0.7, 0.7, 0],
    ),
    "PixelSpacing": (None, [0, 0], [-1, 1], [1], ["nan", "1"], [1000, 1000], ["1e-9", "1e-9"]),
    "RescaleIntercept": (None, "nan", "inf", "1e30", "0", "-8192"),
    "RescaleSlope": (None, "0", "nan", "-1", "1e9", "2.5"),
    "Rows": (0, 1, 65535, 17),
    "Columns": (0, 1, 65535, 21),
    "SamplesPerPixel": (0, 3, None),
    "NumberOfFrames": ("x", "0", "2", "999999", ""),
    "BitsAllocated": (8, 32, 1, 0, 12),
    "BitsStored": (8, 12, 0, 33),
    "HighBit": (0, 7, 31),
    "PixelRepresentation": (1, 2, None),
    "PhotometricInterpretation": ("", "RGB", "MONOCHROME1", "PALETTE COLOR", None),
    "SliceThickness": (None, "0", "nan", "-2", "1e9"),
    "SpacingBetweenSlices": ("0", "-6", "nan"),
    "SeriesNumber": (None, "99999999999", "x", "-1"),
    "InstanceNumber": (None, "1", "x", "-5"),
    "AcquisitionNumber": (None, "7", "x"),
    "Modality": ("MR", "", None, "OT", "SEG"),
    "ImageType": (None, "", ["DERIVED", "SECONDARY", "LOCALIZER"]),
    "SeriesInstanceUID": (None, "", "1.2.3", "not a uid", "1." + "2" * 90),
    "StudyInstanceUID": (None, "", "x/../y"),
    "SOPInstanceUID": (None, "", "1.2.3", "1..2"),
    "SOPClassUID": (None, "", "1.2.840.10008.5.1.4.1.1.4", "1.2.3"),
    "FrameOfReferenceUID": (None, "", "1.2"),
    "SpecificCharacterSet": (
        None,
        ["", "ISO 2022 IR 87"],
        ["", "ISO 2022 IR 149"],
        "GB18030",
        "ISO-IR 192",
        "nonsense",
        ["ISO 2022 IR 6", "ISO 2022 IR 87"],
    ),
    "PatientName": (None, "", "Müller^Änne", "Yamada^Tarou=山田^太郎", "a" * 200, "A\\B", "\n"),
    "PatientID": (None, "", "x" * 300, "\x1b"),
    "PatientBirthDate": ("", "19990231", "yesterday"),
    "PatientSex": ("", "X", "male"),
    "StudyDate": ("", "20269999", "x"),
    "StudyTime": ("", "256199", "x"),
    "GantryDetectorTilt": ("nan", "25", "x"),
    "PatientPosition": ("", "FFP", "x"),
    "TemporalPositionIdentifier": ("1", "x"),
    "ContentTime": ("101010", "x"),
    "PixelPaddingValue": (0, 1024, -2000),
    "PixelData": (b"", b"\0\0", b"\0" * 10),
    "StudyID": (None, "x" * 99),
    "AccessionNumber": (None, "x" * 99),
}


def slices(chance: Random, folder: Path, sound: Path) -> Attack:
    """Files of a series that are empty, cut, overwritten, without preamble or changed at random."""
    series = folder / "in"
    series.mkdir()
    paths = sorted((sound / "series").iterdir())
    bad = set(chance.sample(range(len(paths)), chance.choice((1, 1, 2, 5, 13))))
    how = chance.randrange(9)
    for k, path in enumerate(paths):
        data = path.read_bytes()
        (series / path.name).write_bytes(_damaged(data, how, chance) if k in bad else data)
    return _call(chance, folder, sound, lost=lambda result: _fewer_slices(folder, result))


def _damaged(data: bytes, how: int, chance: Random) -> bytes:
    match how:
        case 0:
            return b""
        case 1:
            return bytes(len(data))
        case 2:
            return data[: chance.randrange(132)]
        case 3:
            return data[: chance.randrange(132, len(data))]
        case 4:
            return data[132:]
        case 5:
            return data[:128] + b"XXXX" + data[132:]
        case 6:
            return harm(data, chance, within=data.rfind(b"\xe0\x7f\x10\x00"))
        case 7:
            return data + chance.randbytes(chance.randint(1, 300))
        case _:
            return harm(data, chance)


def tags(chance: Random, folder: Path, sound: Path) -> Attack:
    """Tags with values of wrong types, empty, missing or contradictory, in one slice or in all."""
    series = series_of(0)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        tag = chance.choice(sorted(_VALUES))
        value = chance.choice(_VALUES[tag])
        some = chance.choice((series.slices, series.slices, series.slices[3:4], series.slices[::3]))
        for header in some:
            _set(header, tag, value, chance)
    for header in series.slices:
        if chance.random() < 0.05:
            _add_private(header, chance)
    (folder / "in").mkdir()
    for number, header in enumerate(series.slices):
        _save(header, folder / "in" / f"{number:03d}.dcm")
    return _call(chance, folder, sound, lost=lambda result: _fewer_slices(folder, result))


def _set(header: Dataset, tag: str, value: Any, chance: Random) -> None:
    if value is None and chance.random() < 0.5:
        header.pop(tag, None)
        return
    try:
        setattr(header, tag, value)
        if chance.random() < 0.05:
            header[tag].VR = chance.choice(("LO", "UN", "SH", "LT"))
    except (
        Exception
    ):  # pydicom does not let this value in; written as plain text, a reader meets it all the same
        header[tag] = pydicom.DataElement(pydicom.tag.Tag(tag), "LO", str(value)[:60])


def _add_private(header: Dataset, chance: Random) -> None:
    inner: Dataset = Dataset()
    for _ in range(chance.choice((1, 3, 60))):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner]
        inner = outer
    header.ReferencedSeriesSequence = [inner]
    header.add_new((0x0009, 0x0010), "LO", "PRIVATE")
    header.add_new(
        (0x0009, 0x1001),
        chance.choice(("UN", "OB", "LO")),
        chance.choice((b"\xfe\xff\x00\xe0", b"\0" * 30, b"x")),
    )


def _save(header: Dataset, path: Path) -> None:
    header.file_meta = pydicom.dataset.FileMetaDataset()
    try:
        save(header, path)
    except Exception:
        for tag in list(header.keys()):  # what cannot be written is left out: then it is missing
            one = Dataset()
            one[tag] = header[tag]
            try:
                save(one, path)
            except Exception as error:
                if "SOP" not in str(error) and "meta" not in str(error).lower():
                    del header[tag]
        try:
            header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            header.save_as(path, enforce_file_format=False)
        except Exception:
            path.write_bytes(b"\0" * 128 + b"DICM")


def mixed(chance: Random, folder: Path, sound: Path) -> Attack:
    """Series of which slices are missing, doubled or displaced, or that hold two acquisitions,
    passes, sizes or patients."""
    series, how = series_of(0), chance.randrange(9)
    headers = list(series.slices)
    told_or_refused = True
    if how == 0:
        del headers[chance.randrange(1, len(headers) - 1)]
    elif how == 1:
        for header in headers[chance.randrange(3, 11) :]:
            header.ImagePositionPatient = [
                *header.ImagePositionPatient[:2],
                float(header.ImagePositionPatient[2]) + chance.choice((2.0, 4.0, 20.0)),
            ]
    elif how == 2:
        twin = series_of(1)
        for header in twin.slices:
            header.SeriesInstanceUID, header.StudyInstanceUID, header.FrameOfReferenceUID = (
                series.uid,
                series.study,
                series.frame_of_reference,
            )
            header.AcquisitionNumber = chance.choice((1, 2))
            shift = chance.choice((0.0, 2.0, 3.0, 15.0))
            header.ImagePositionPatient = [
                *header.ImagePositionPatient[:2],
                float(header.ImagePositionPatient[2]) + shift,
            ]
        headers += twin.slices[chance.randrange(len(twin.slices)) :]
    elif how == 3:
        for header in headers[::2]:
            header.ImagePositionPatient = [
                float(header.ImagePositionPatient[0]) + 3.0,
                *header.ImagePositionPatient[1:],
            ]
    elif how == 4:
        for header in chance.sample(headers, 4):
            del header.RescaleIntercept
            header.RescaleSlope = chance.choice((1, 2))
    elif how == 5:
        other = headers[5]
        other.Rows, other.PixelData = 9, other.PixelData[: 9 * SHAPE[2] * 2]
    elif how == 6:
        headers[4].SOPInstanceUID = headers[3].SOPInstanceUID
        headers[4].ImagePositionPatient = headers[3].ImagePositionPatient
    elif how == 7:
        for header in headers:
            header.ImagePositionPatient = [
                *header.ImagePositionPatient[:2],
                30.0 * float(header.InstanceNumber),
            ]
    else:
        told_or_refused = False
        for header in series_of(2).slices:
            header.SeriesNumber, header.PatientID = 3, "other"
            headers.append(header)
    (folder / "in").mkdir()
    for number, header in enumerate(headers):
        save(header, folder / "in" / f"{generate_uid()[-8:]}{number:03d}.dcm")

    def lost(result: Result) -> str | None:
        told = "warning" in result.err or "notice" in result.err
        return f"kind {how} segmented without a warning" if told_or_refused and not told else None

    return _call(chance, folder, sound, lost=lost)


def _call(chance: Random, folder: Path, sound: Path, *, lost: Any) -> Attack:
    if chance.random() < 0.1:
        (folder / "cases.csv").write_text(f"id,image\nfull,in\nother,{sound}/source/part.nii.gz\n")
        return Attack(
            ["index", str(folder / "cases.csv"), "-o", str(folder / "out"), "--threads", "1"],
            folder,
            folder / "out",
            ("full",),
        )
    formats = chance.choice(_FORMATS)
    argv = [
        "segment",
        str(folder / "in"),
        "-o",
        str(folder / "out"),
        "--model",
        str(sound / "bundle"),
        "--threads",
        "1",
        "--format",
        formats,
    ]
    if chance.random() < 0.3:
        argv += ["--statistics", "--report", str(folder / "out" / "report.json")]
    if formats == "nifti":
        argv[3] = str(folder / "out.nii.gz")
        argv = argv[:10]
        return Attack(argv, folder, folder / "out.nii.gz", ("in",), lost=lost)
    return Attack(
        argv,
        folder,
        folder / "out",
        ("in", "patient", "Patient"),
        lost=lambda result: _unusable(folder / "out") or lost(result),
    )


def _fewer_slices(folder: Path, result: Result) -> str | None:
    if "warning" in result.err or "notice" in result.err:
        return None
    for path in [folder / "out.nii.gz", *(folder / "out").glob("*.nii.gz")]:
        if path.is_file() and min(nib.load(path).shape) and SHAPE[0] not in nib.load(path).shape:
            return f"{SHAPE[0]} slices given, labels of {nib.load(path).shape}, and no warning"
    return None


def _unusable(out: Path) -> str | None:
    """What an independent reader says of the DICOM objects that were written."""
    import highdicom

    for path in out.glob("*.seg.dcm"):
        try:
            segmentation = highdicom.seg.segread(path)
            np.asarray(segmentation.pixel_array)
        except Exception as error:
            return f"highdicom cannot read {path.name}: {type(error).__name__}: {error}"
    for path in out.glob("*.rtstruct.dcm"):
        try:
            str(pydicom.dcmread(path))
        except Exception as error:
            return f"pydicom cannot read {path.name}: {type(error).__name__}: {error}"
    return None
