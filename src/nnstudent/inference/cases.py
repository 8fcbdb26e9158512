"""Which images a file or folder holds, and where the labels of each go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.inference.formats import ENDINGS, FORMATS, check_formats, check_source, fits
from nnstudent.io.atomic import check_folder
from nnstudent.io.dicom_files import holds_dicom
from nnstudent.io.nifti import is_image, stem

_CHANNEL = re.compile(r"_0000$")


@dataclass(frozen=True)
class CaseFile:
    """One image to segment.

    Attributes:
        id: Name of the case.
        source: Image file, or folder of a DICOM series.
        output: Label map to write, of several formats the first; or the folder of one file an organ.
    """

    id: str
    source: Path
    output: Path


def find_cases(source: Path, output: Path, *, split: bool = False, formats: Sequence[str] = ("nifti",)) -> tuple[CaseFile, ...]:
    """The cases that a file or folder holds, and where each one's output goes; makes nothing.

    Args:
        source: An image, a folder of images (``NAME_0000`` is nnU-Net's name for the first channel of ``NAME``), the
            folder of a DICOM series (or a disc's, with its DICOMDIR), or a folder whose folders are such.
        output: For one image a file or an existing folder, for a folder of images a folder.
        split: Outputs are folders of one file an organ.
        formats: What is to be written of each.

    Raises:
        InputError: There is no image, two have the same name, ``output`` cannot be what it must or would replace an image, or a
            format needs what the image has not.
        MissingExtraError: What writes a format is not installed.
        OutputError: The output's folder cannot be written.
    """
    check_formats(formats, split=split)
    cases = _find(source, output, split=split, formats=formats)
    for folder in {case.output if split else case.output.parent for case in cases}:
        check_folder(folder)
    return cases


def _find(source: Path, output: Path, *, split: bool, formats: Sequence[str]) -> tuple[CaseFile, ...]:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; expected an image or a folder of images")
    images = [source] if source.is_file() else _images(source)
    series = not images and (holds_dicom(source) or (source / "DICOMDIR").is_file())
    if source.is_file() or series:
        id = _CHANNEL.sub("", stem(source)) if source.is_file() else source.resolve().name
        if split:
            return (CaseFile(id, source, output),)
        named = fits(output.name, formats)
        if not named and not (output.is_dir() or output.suffix == ""):
            endings = " or ".join(dict.fromkeys(ending for name in formats for ending in ENDINGS[name]))
            raise InputError(f"{output}: an output file ends in {endings}; without an ending it is a folder")
        check_source(source, formats)
        target = output if named else output / f"{id}{ENDINGS[formats[0]][0]}"
        if target.resolve() == source.resolve():
            raise InputError(f"{target}: is the image itself, which the labels would replace; give the output another name")
        return (CaseFile(id, source, target),)
    images = images or sorted(path for path in source.iterdir() if path.is_dir() and path.name[0] != "." and holds_dicom(path, deep=True))
    if not images:
        inside = sorted(path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
        hint = f"; it has the folders {', '.join(inside[:5])}, name the one that holds the images" if inside else ""
        raise InputError(f"{source}: no image in this folder; expected files that end in .nii.gz, .nii or .mgz, or DICOM series{hint}")
    if fits(output.name, FORMATS) or output.is_file():
        raise InputError(f"{output}: {source} is a folder of {len(images)} images, so the output must be a folder too")
    if output.resolve() == source.resolve():
        raise InputError(f"{output}: is the folder of the images; label maps there would be taken for images, choose another folder")
    cases: dict[str, CaseFile] = {}
    for path in images:
        id = _CHANNEL.sub("", stem(path)) if path.is_file() else path.name
        if id.lower() in cases:
            raise InputError(f"{path}: another image in the folder is also case {id}; rename one, or their outputs would be the same file")
        check_source(path, formats)
        cases[id.lower()] = CaseFile(id, path, output / id if split else output / f"{id}{ENDINGS[formats[0]][0]}")
    return tuple(cases.values())


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image(path) and not _is_pair(path))


def _is_pair(path: Path) -> bool:
    """Whether this is the voxel file of a two-file image, whose header file stands for it."""
    return path.suffix.lower() == ".img" and path.with_suffix(".hdr").is_file()
