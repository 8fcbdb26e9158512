"""Images in formats other than NIfTI, and folders as hospitals export them, that are damaged,
impossible or ambiguous."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset

from tests.faults.damage import LONG_NUMBER, harm, harm_text, odd_value, to_json
from tests.faults.outcome import Attack, Result
from tests.faults.sound import SHAPE, SPACING_MM, scan, series_of
from tests.io.series import enhanced, save

_ODD = (
    "", "0", "-1", "3", "nan", "inf", "1e99", LONG_NUMBER, "x", "0 0 0", "-1 -1 -1", "22 18",
    "22 18 14 1", "22 18 14 2", "22 18 15", "99999 99999 99999", "none", "(1,0,0) (0,1,0)",
    "(nan,0,0) (0,6,0) (0,0,6)", "(0,0,0) (0,0,0) (0,0,0)", "../../../../etc/passwd", "/dev/zero",
    "LIST", "LOCAL", "%03d.raw 0 9 1", "short", "float", "double", "uchar", "block", "bzip2", "hex",
    "left-posterior-superior", "right-anterior-superior-time", "True", "MET_FLOAT", "é\0",
)  # fmt: skip


def nrrd(chance: Random, folder: Path, sound: Path) -> Attack:
    """NRRD whose header or voxels are wrong, with its voxels in the file or beside it."""
    beside, packed = chance.random() < 0.25, chance.random() < 0.5
    fields = {
        "type": "int16", "dimension": "3", "space": "left-posterior-superior",
        "sizes": " ".join(str(n) for n in reversed(SHAPE)),
        "space directions": " ".join(
            f"({','.join(str(SPACING_MM * (i == k)) for i in range(3))})" for k in range(3)
        ),
        "kinds": "domain domain domain", "endian": "little",
        "encoding": "gzip" if packed else "raw", "space origin": "(0,0,0)",
    }  # fmt: skip
    if beside:
        fields["data file"] = "x.raw"
    head = b"NRRD0004\n" + _lines(fields, ": ", chance)
    voxels, labels = _voxels(chance)
    return _stored(
        chance, folder, sound,
        head=head + (b"" if beside else b"\n"), voxels=gzip.compress(voxels, 1) if packed else voxels,
        names=("part.nhdr", "x.raw") if beside else ("part.nrrd", None), labels=labels,
    )  # fmt: skip


def metaimage(chance: Random, folder: Path, sound: Path) -> Attack:
    """MetaImage whose header or voxels are wrong, with its voxels in the file or beside it."""
    beside, packed = chance.random() < 0.3, chance.random() < 0.5
    voxels, labels = _voxels(chance)
    stored = zlib.compress(voxels) if packed else voxels
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False", "CompressedData": str(packed),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": " ".join([str(SPACING_MM)] * 3),
        "DimSize": " ".join(str(n) for n in reversed(SHAPE)), "ElementType": "MET_SHORT",
    }  # fmt: skip
    if packed and chance.random() < 0.5:
        fields["CompressedDataSize"] = str(len(stored))
    fields["ElementDataFile"] = "x.raw" if beside else "LOCAL"
    return _stored(
        chance, folder, sound, head=_lines(fields, " = ", chance), voxels=stored,
        names=("part.mhd", "x.raw") if beside else ("part.mha", None), labels=labels,
    )  # fmt: skip


def _voxels(chance: Random) -> tuple[bytes, bool]:
    """Voxels of a scan or of its label map, and whether they are labels."""
    image, labels = scan(9)
    is_labels = chance.random() < 0.3
    array = labels.array if is_labels else image.array
    return np.ascontiguousarray(array, "<i2").tobytes(), is_labels


def _lines(fields: dict[str, str], between: str, chance: Random) -> bytes:
    """A header, of which some fields are changed, missing, doubled or damaged as text."""
    fields = dict(fields)
    for _ in range(chance.choice((0, 1, 1, 2))):
        key = chance.choice(list(fields))
        match chance.randrange(5):
            case 0 if len(fields) > 2:
                del fields[key]
            case 1:
                fields[chance.choice((key.upper(), f"{key}2", "Comment", "x"))] = fields[key]
            case _:
                fields[key] = chance.choice(_ODD)
    text = "".join(f"{key}{between}{value}\n" for key, value in fields.items())
    return harm_text(text, chance, separators=":= \n") if chance.random() < 0.15 else text.encode()


def _stored(
    chance: Random, folder: Path, sound: Path, *, head: bytes, voxels: bytes,
    names: tuple[str, str | None], labels: bool,
) -> Attack:  # fmt: skip
    """One of the verbs that read images, on this header and these voxels."""
    place, cut = folder / "in", False
    place.mkdir()
    match chance.randrange(6):
        case 0:
            voxels, cut = voxels[: chance.randrange(len(voxels))], True
        case 1:
            voxels = harm(voxels, chance)
        case 2:
            head = harm(head, chance)
        case 3 if chance.random() < 0.3:
            voxels += chance.randbytes(chance.randint(1, 900))
    path = place / names[0]
    if names[1] is None:
        path.write_bytes(head + voxels)
    else:
        path.write_bytes(head)
        if chance.random() < 0.9:
            (place / names[1]).write_bytes(voxels)

    def lost(_: Result) -> str | None:
        if cut:
            return "the voxels are cut off, and exit code 0"
        return _other_size(path, folder / "out.nii.gz")

    return _read(chance, folder, sound, path, labels=labels, lost=lost)


def _read(
    chance: Random, folder: Path, sound: Path, path: Path, *, labels: bool,
    lost: Callable[[Result], str | None],
) -> Attack:  # fmt: skip
    out, table = folder / "out", str(sound / "source" / "table.toml")
    names = (path.name, path.stem, "in")
    if labels:
        report = folder / "out.json"
        argv = chance.choice((
            ["evaluate", str(path.parent), str(sound / "truth"), "--common-only", "--report", str(report)],
            ["stats", str(path), "--taxonomy", table, "-o", str(folder / "out.csv")],
            ["relabel", str(path), "-o", str(folder / "out.nii.gz"), "--to", table],
            ["label", str(sound / "cohort"), "-o", str(out), "--from", str(path.parent)],
        ))  # fmt: skip
        return Attack(argv, folder, out, names, lost=lost)
    if chance.random() < 0.2:
        (folder / "cases.csv").write_text(
            f"id,image\nfull,in/{path.name}\nother,{sound}/source/part.nii.gz\n"
        )
        argv = ["index", str(folder / "cases.csv"), "-o", str(out), "--threads", "1"]
        return Attack(argv, folder, out, ("full",), lost=lost)
    argv = ["segment", str(path), "-o", str(folder / "out.nii.gz"), *_model(sound)]
    return Attack(argv, folder, folder / "out.nii.gz", names, lost=lost)


def _model(sound: Path) -> list[str]:
    return ["--model", str(sound / "bundle"), "--threads", "1"]


def _other_size(path: Path, labels: Path) -> str | None:
    """What SimpleITK, where it is installed, says of the image beside the size of the labels."""
    try:
        import SimpleITK
    except ImportError:
        return None
    if not labels.is_file():
        return None
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    try:
        size = SimpleITK.ReadImage(str(path)).GetSize()
    except RuntimeError:
        return None  # it reads fewer kinds than nnStudent
    found = nib.load(labels).shape
    if tuple(n for n in size if n != 1) == tuple(n for n in found if n != 1):
        return None
    return f"image of {size}, labels of {found}"


def archive(chance: Random, folder: Path, sound: Path) -> Attack:
    """ZIP archives of a scan that are damaged, hold too much, too little or something else."""
    (folder / "in").mkdir()
    path, canary = folder / "in" / "scan.zip", folder.with_name(folder.name + ".canary")
    packed = (sound / "ct.nii.gz").read_bytes()
    slices = [(f"s/{p.name}", p.read_bytes()) for p in sorted((sound / "series").iterdir())]
    files: list[tuple[str | zipfile.ZipInfo, bytes]] = [*slices]
    if chance.random() < 0.4:
        files = [("ct.nii.gz", packed)]
    one, fewer = files[0], len(files) > 1
    harmed, told = False, True  # whether something must be said if it is segmented
    match chance.randrange(11):
        case 0 | 1:
            harmed = True
        case 2:
            files.append(("other.nii.gz", packed))
        case 3:
            files += [("__MACOSX/._ct.nii.gz", b"x"), ("readme.txt", b"x"), (".DS_Store", b"x")]
            told = False
        case 4:
            files = files[: chance.randrange(len(files))] or [("readme.txt", b"x")]
        case 5:
            files.append((chance.choice((f"../{canary.name}", str(canary), "a/../../x")), one[1]))
        case 6:
            files = [("inner.zip", zip_of(files))]
        case 7:
            files[chance.randrange(len(files))] = (one[0], harm(one[1], chance))
        case 8:
            files.append(one)  # the same name twice
        case 9:
            entry = zipfile.ZipInfo("s/link.dcm")
            entry.create_system, entry.external_attr = 3, (0o120777 << 16)
            files.append((entry, str(sound / "ct.nii.gz").encode()))
        case _:
            files += [(f"big/{k}.dcm", bytes(3_000_000)) for k in range(9)]
    made = zip_of(files)
    path.write_bytes(harm(made, chance) if harmed else made)
    del told

    def lost(result: Result) -> str | None:
        found = folder / "out.nii.gz"
        if "warning" in result.err or "notice" in result.err or not found.is_file():
            return None
        shape = nib.load(found).shape
        return None if SHAPE[0] in shape else f"labels of {shape} without a word, fewer: {fewer}"

    if chance.random() < 0.2:
        (folder / "cases.csv").write_text(
            f"id,image\nfull,in/scan.zip\nother,{sound}/source/part.nii.gz\n"
        )
        argv = ["index", str(folder / "cases.csv"), "-o", str(folder / "out"), "--threads", "1"]
        return Attack(argv, folder, folder / "out", ("full",), canary=canary)
    argv = ["segment", str(path), "-o", str(folder / "out.nii.gz"), *_model(sound)]
    return Attack(argv, folder, folder / "out.nii.gz", ("scan.zip", "in"), canary=canary, lost=lost)


def zip_of(files: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """An archive of these names and contents, whatever they are."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return made.getvalue()


def frames(chance: Random, folder: Path, sound: Path) -> Attack:
    """One Enhanced CT whose frames lack what they need, contradict it, or are damaged as bytes."""
    (folder / "in").mkdir()
    path = enhanced(series_of(0), folder / "in" / "ct.dcm")
    how = chance.randrange(4)
    if how == 0:
        data = path.read_bytes()
        path.write_bytes(harm(data, chance, within=data.rfind(b"\xe0\x7f\x10\x00")))
    elif how == 1:
        data = path.read_bytes()
        path.write_bytes(data[: chance.randrange(1, len(data))])
    else:
        header = pydicom.dcmread(path)
        for _ in range(chance.choice((1, 1, 2, 3))):
            _harm_frames(header, chance)
        try:
            save(header, path)
        except Exception:  # pydicom does not write it: then it is a file of nothing
            path.write_bytes(bytes(128) + b"DICM")
    formats = chance.choice(("nifti", "nifti", "nifti,dicom-seg", "nifti,seg.nrrd"))
    out = folder / ("out.nii.gz" if formats == "nifti" else "out")
    argv = ["segment", str(chance.choice((path, path.parent))), "-o", str(out), *_model(sound)]

    def lost(result: Result) -> str | None:
        if "warning" in result.err or "notice" in result.err:
            return None
        for found in [folder / "out.nii.gz", *(folder / "out").glob("*.nii.gz")]:
            if found.is_file() and SHAPE[0] not in nib.load(found).shape:
                return f"{SHAPE[0]} frames given, labels of {nib.load(found).shape}, no warning"
        return None

    return Attack([*argv, "--format", formats], folder, out, ("in", "ct.dcm"), lost=lost)


def _harm_frames(header: Dataset, chance: Random) -> None:
    groups = list(header.get("PerFrameFunctionalGroupsSequence") or [Dataset()])
    frame = chance.choice(groups)
    match chance.randrange(7):
        case 0:
            del groups[chance.randrange(len(groups))]
            header.PerFrameFunctionalGroupsSequence = groups
        case 1:
            for name in list(frame.dir()):
                if chance.random() < 0.5:
                    delattr(frame, name)
        case 2 if "PlanePositionSequence" in frame:
            places: tuple[object, ...] = ([], ["nan"] * 3, [0, 0, 0], ["1e99", 0, 0], [3.0, 0, 9.0])
            frame.PlanePositionSequence[0].ImagePositionPatient = chance.choice(places)
        case 3 if "PixelValueTransformationSequence" in frame:
            values = frame.PixelValueTransformationSequence[0]
            values.RescaleIntercept = chance.choice(("nan", "-8192", "", "1e30"))
        case 4:
            header.NumberOfFrames = chance.choice(("", 1, 2, len(groups) + 1, 999_999))
        case 5:
            for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
                if chance.random() < 0.5 and name in header:
                    setattr(header, name, chance.choice(([], [Dataset()])))
        case _:
            header.PixelData = header.PixelData[: chance.randrange(0, len(header.PixelData), 2)]


def hospital(chance: Random, folder: Path, sound: Path) -> Attack:
    """Folders of patients, studies and series with what else lies in them."""
    root = folder / "in"
    names = [f"P{k}/study/series" for k in range(chance.choice((1, 2, 2)))]
    for number, name in enumerate(names):
        shutil.copytree(sound / "series", root / name)
        for path in (root / name).iterdir():
            header = pydicom.dcmread(path)
            header.PatientID = f"P{number}"
            for tag in ("StudyInstanceUID", "SeriesInstanceUID"):
                setattr(header, tag, f"{getattr(header, tag)}.{number}")
            header.SOPInstanceUID = f"{header.SOPInstanceUID[:58]}.{number}"
            save(header, path)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _disturb(root, root / chance.choice(names), chance, sound)
    out = folder / "out"
    if chance.random() < 0.25:
        argv = ["index", str(root), "-o", str(out), "--threads", "1"]
    else:
        argv = ["segment", str(root), "-o", str(out), *_model(sound)]

    def lost(result: Result) -> str | None:
        told = len(result.err.strip()) + len(result.out.strip())
        done = len(list(out.rglob("*.nii.gz")))
        if argv[0] == "segment" and done < len(names) and not told:
            return f"{done} of {len(names)} patients segmented, and not a word"
        for found in out.rglob("*.nii.gz"):
            size = nib.load(found).shape
            if SHAPE[0] not in size and not {"warning", "notice"} & set(result.err.split(": ")):
                return f"labels of {size} without a word"
        return None

    return Attack(argv, folder, out, ("in", "P0", "P1", "series", "study"), lost=lost)


def _disturb(root: Path, series: Path, chance: Random, sound: Path) -> None:
    """Put something into a hospital's folder, take something out, or move it."""
    files = sorted(series.glob("*.dcm")) or [series / "x.dcm"]
    one = chance.choice(files)
    match chance.randrange(12):
        case 0:
            (root / "DICOMDIR").write_bytes(chance.choice((b"", chance.randbytes(900))))
        case 1:
            one.write_bytes(chance.choice((b"", bytes(500), harm(one.read_bytes(), chance))))
        case 2:
            (series / chance.choice(("LICENSE", "Thumbs.db", "report.pdf", "x.xml"))).write_bytes(
                b"x"
            )
        case 3:
            shutil.copy(sound / "ct.nii.gz", series.parent / "ct.nii.gz")
        case 4:
            one.rename(series.parent / one.name)  # a slice beside its series
        case 5:
            deep = series
            for _ in range(60):
                deep = deep / "d"
            deep.mkdir(parents=True)
            shutil.copy(one, deep / "x.dcm")
        case 6:
            (series / "loop").symlink_to(root)
        case 7:
            shutil.copytree(series, series.with_name("again"))  # the same series twice
        case 8:
            _add_localizer(one, series.with_name("topogram"))
        case 9:
            os.mkfifo(series / "pipe.dcm")
        case 10:
            one.unlink()
        case _:
            header = pydicom.dcmread(one)
            tag = chance.choice(("PatientID", "StudyInstanceUID", "Modality", "SeriesInstanceUID"))
            value = to_json(odd_value(chance))[:60].encode("ascii", "replace").decode()
            setattr(header, tag, value if tag != "Modality" else "MR")
            try:
                save(header, one)
            except Exception:
                one.write_bytes(b"")


def _add_localizer(slice_: Path, folder: Path) -> None:
    header = pydicom.dcmread(slice_)
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    header.SeriesInstanceUID = f"{header.SeriesInstanceUID[:55]}.77"
    header.SOPInstanceUID = f"{header.SOPInstanceUID[:55]}.77"
    folder.mkdir(exist_ok=True)
    save(header, folder / "1.dcm")
