"""NIfTI images and label maps that are damaged, impossible or unusual, for every verb that reads
them."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np

from tests.faults.damage import harm
from tests.faults.outcome import Attack, Result

# Offsets in the header of NIfTI-1 (nifti1.h) of what is worth damaging by itself, with the format
# of one value.
_FIELDS = (
    (0, "<i"), (40, "<h"), (42, "<h"), (44, "<h"), (46, "<h"), (48, "<h"), (70, "<h"), (72, "<h"), (76, "<f"), (80, "<f"), (84, "<f"),
    (88, "<f"), (108, "<f"), (112, "<f"), (116, "<f"), (123, "<b"), (252, "<h"), (254, "<h"), (256, "<f"), (260, "<f"), (268, "<f"),
    (280, "<f"), (292, "<f"), (300, "<f"), (320, "<f"), (344, "<i"), (348, "<i"),
)  # fmt: skip
_NUMBERS = {
    "<i": (0, -1, 1, 540, 2**31 - 1, -(2**31), 0x5C010000),
    "<h": (0, -1, 1, 2, 3, 4, 7, 8, 16, 32, 64, 128, 256, 512, 768, 1792, 32767, -32768, 30000),
    "<f": (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 351.5, 1e6, 3.4e38),
    "<b": (0, -1, 1, 2, 3, 8, 24, 127),
}


def header(chance: Random, folder: Path, sound: Path) -> Attack:
    """Fields of the header with values that they cannot have, or that the data contradict."""
    data = bytearray(gzip.decompress(_some(chance, sound).read_bytes()))
    for _ in range(chance.choice((1, 1, 2, 3))):
        if chance.random() < 0.3:
            data[: len(data)] = harm(bytes(data), chance, within=352)
        else:
            offset, form = chance.choice(_FIELDS)
            if len(data) < 352:
                break
            struct.pack_into(form, data, offset, chance.choice(_NUMBERS[form]))
    return _call(chance, folder, sound, bytes(data), compressed=chance.random() < 0.7)


def content(chance: Random, folder: Path, sound: Path) -> Attack:
    """Files that are cut off, not what their name says, or wrong somewhere."""
    packed = _some(chance, sound).read_bytes()
    match chance.randrange(6):
        case 0:
            return _call(chance, folder, sound, harm(packed, chance), compressed=None)
        case 1:
            return _call(
                chance, folder, sound, packed[: chance.randrange(len(packed))], compressed=None
            )
        case 2:
            return _call(
                chance, folder, sound, harm(gzip.decompress(packed), chance), compressed=True
            )
        case 3:
            raw = gzip.decompress(packed)
            return _call(
                chance,
                folder,
                sound,
                raw[: chance.randrange(len(raw))],
                compressed=chance.choice((True, False)),
            )
        case 4:
            made = chance.choice(
                (
                    b"",
                    b"\0" * 5000,
                    b"NRRD0004\n",
                    b"\x1f\x8b",
                    chance.randbytes(4000),
                    b"<html>not found</html>",
                )
            )
            return _call(chance, folder, sound, made, compressed=None)
        case _:  # two files in one, or what is left of a longer one
            return _call(
                chance,
                folder,
                sound,
                packed + chance.choice((packed, b"\0" * 512, b"junk")),
                compressed=None,
            )


def voxels(chance: Random, folder: Path, sound: Path) -> Attack:
    """Sound files of voxels that no CT has: not numbers, four dimensions, colors, one slice, other
    types, other grids."""
    shape = chance.choice(
        (
            (22, 18, 14),
            (22, 18, 14),
            (22, 18, 1),
            (1, 1, 1),
            (22, 18, 14, 1),
            (22, 18, 14, 2),
            (22, 18),
            (22, 18, 0),
        )
    )
    kind = chance.choice(
        (
            np.int16,
            np.uint8,
            np.float32,
            np.float64,
            np.uint16,
            np.int32,
            np.complex64,
            np.uint64,
            "rgb",
        )
    )
    rng = np.random.default_rng(chance.randrange(2**32))
    if kind == "rgb":
        array = np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        array = (
            rng.normal(0, 300, shape)
            .clip(0 if np.dtype(kind).kind == "u" else -1000, 250)
            .astype(kind)
        )
        if np.dtype(kind).kind == "f":
            array.flat[: chance.randrange(array.size + 1)] = chance.choice(
                (np.nan, np.inf, -np.inf, 1e30, 2.5)
            )
    spacing = chance.choice((1.0, -6.0, 6.0, 1e-3, 500.0, 0.05))
    affine = np.diag([spacing, chance.choice((6.0, spacing)), chance.choice((6.0, 30.0)), 1.0])
    affine[0, 1] = chance.choice((0.0, 0.0, 2.0))
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    if chance.random() < 0.3:
        image.header["sform_code"], image.header["qform_code"] = chance.choice(
            ((0, 0), (0, 1), (1, 9))
        )
    if chance.random() < 0.2:
        image.header.set_slope_inter(
            chance.choice((1.0, 2.0, -1.0, 1e-9)), chance.choice((0.0, 1e9, -1024.0))
        )
    return _call(chance, folder, sound, image.to_bytes(), compressed=chance.random() < 0.7)


def other_format(chance: Random, folder: Path, sound: Path) -> Attack:
    """Images of other formats, or whose name says so, alone or beside a sound one."""
    name = "x" + chance.choice(
        (
            ".mgh",
            ".mgz",
            ".nrrd",
            ".mha",
            ".img",
            ".hdr",
            ".mnc",
            ".tif",
            ".png",
            ".nii.zip",
            "",
            ".gz",
            ".dcm",
        )
    )
    packed = (sound / "ct.nii.gz").read_bytes()
    made = chance.choice(
        (
            packed,
            gzip.decompress(packed),
            harm(packed, chance),
            b"",
            struct.pack(">iiiiii", 1, 22, 18, 14, 1, 4) + bytes(300),
        )
    )
    inputs = folder / "in"
    inputs.mkdir()
    (inputs / name).write_bytes(made)
    if alone := chance.random() < 0.5:
        return _segment(folder, inputs / name, sound, names=(name,))
    (inputs / "sound.nii.gz").write_bytes(packed)

    def lost(result: Result) -> str | None:
        done = len(list((folder / "out").glob("*.nii.gz")))
        return None if done == 2 or name in result.err else f"{name} was passed over without a word"

    del alone
    return _segment(folder, inputs, sound, names=("in",), lost=lost, out="out")


def _some(chance: Random, sound: Path) -> Path:
    return chance.choice((sound / "ct.nii.gz", sound / "truth" / "full.nii.gz"))


def _call(
    chance: Random, folder: Path, sound: Path, data: bytes, *, compressed: bool | None
) -> Attack:
    """One of the verbs that read images, on this content, raw or compressed (None: as it is)."""
    name = "full.nii" if compressed is False else "full.nii.gz"
    path = folder / "in" / name
    path.parent.mkdir()
    path.write_bytes(gzip.compress(data, 1, mtime=0) if compressed else data)
    out = folder / "out"
    match chance.randrange(6):
        case 0 | 1:
            return _segment(
                folder,
                path,
                sound,
                names=(name,),
                lost=lambda _: unlike(path, folder / "out.nii.gz"),
            )
        case 2:
            (folder / "cases.csv").write_text(
                f"id,image,label\nfull,{sound}/source/full.nii.gz,in/{name}\nother,{sound}/source/part.nii.gz,\n"
            )
            argv = [
                "index",
                str(folder / "cases.csv"),
                "-o",
                str(out),
                "--threads",
                "1",
                "--taxonomy",
                str(sound / "source" / "table.toml"),
            ]
            return Attack(argv, folder, out, ("full",))
        case 3:
            (folder / "cases.csv").write_text(
                f"id,image\nfull,in/{name}\nother,{sound}/source/part.nii.gz\n"
            )
            return Attack(
                ["index", str(folder / "cases.csv"), "-o", str(out), "--threads", "1"],
                folder,
                out,
                ("full",),
            )
        case 4:
            truth, predicted = sound / "truth", path.parent
            if chance.random() < 0.5:
                truth, predicted = path.parent, sound / "truth"
            report = folder / "out.json"
            return Attack(
                ["evaluate", str(predicted), str(truth), "--common-only", "--report", str(report)],
                folder,
                report,
                ("full", "in"),
            )
        case _:
            return Attack(
                ["label", str(sound / "cohort"), "-o", str(out), "--from", str(path.parent)],
                folder,
                out,
                ("full", "in"),
            )


def _segment(
    folder: Path,
    path: Path,
    sound: Path,
    *,
    names: tuple[str, ...],
    out: str = "out.nii.gz",
    lost=lambda result: None,
) -> Attack:  # type: ignore[no-untyped-def]
    argv = [
        "segment",
        str(path),
        "-o",
        str(folder / out),
        "--model",
        str(sound / "bundle"),
        "--threads",
        "1",
    ]
    return Attack(argv, folder, folder / out, names, lost=lost)


def unlike(path: Path, labels: Path) -> str | None:
    """What of the image is not in the labels, by nibabel and zlib alone."""
    data = path.read_bytes()
    if path.suffix == ".gz" and data[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(31)
        try:
            data = stream.decompress(data)
        except zlib.error as error:
            return f"the compressed data are damaged ({error}), and it was segmented"
        if not stream.eof:
            return "the compressed data end too early, and it was segmented"
    if not labels.is_file():
        return "no output, and exit code 0"
    if data[344:347] in (b"n+1", b"n+2") or data[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        image = nib.Nifti1Image.from_bytes(data)
        try:
            shape = np.asarray(image.dataobj).shape
        except (OSError, ValueError, EOFError) as error:
            return f"nibabel cannot read the voxels ({error}), and it was segmented"
        found = nib.load(labels).shape
        if tuple(n for n in shape if n != 1) != tuple(n for n in found if n != 1):
            return f"image of {shape}, labels of {found}"
    return None
