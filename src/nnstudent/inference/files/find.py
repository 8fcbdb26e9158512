"""Finding the images in a file or folder, and naming the output of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.inference.files.formats import (
    FORMATS,
    check_formats,
    check_source,
    formats_of,
    has_ending,
)
from nnstudent.io.atomic import check_folder
from nnstudent.io.content import content_of
from nnstudent.io.dicom.contents import holds_dicom
from nnstudent.io.dicom.find import has_frames, single_file
from nnstudent.io.dicom.tree import study_folders
from nnstudent.io.finder import (
    FOLDER,
    LABELS,
    Listing,
    case_names,
    channels_of,
    describe,
    list_folder,
    same_name,
)
from nnstudent.io.nifti import stem

_NAME_BYTES = 255  # of a file, on every common file system


@dataclass(frozen=True)
class CaseFile:
    """One image to segment.

    Attributes:
        id: Name of the case.
        source: A scan, see :func:`~nnstudent.io.scan.read_scan`.
        output: Label map to write, in the first of several formats; or the folder of one file per
            organ.
        formats: The formats to write.
    """

    id: str
    source: Path
    output: Path
    formats: tuple[str, ...] = ("nifti",)


@dataclass(frozen=True)
class Inputs:
    """The contents of an input file or folder.

    Attributes:
        cases: The images to segment.
        notices: What was passed over, one line per kind.
    """

    cases: tuple[CaseFile, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """Images with their cases' names, whether only one was given, and what was passed over."""

    images: tuple[tuple[str, Path], ...]
    single: bool
    passed_over: Mapping[str, Sequence[Path]]


def find_cases(
    source: Path, output: Path, *, split: bool = False, formats: Sequence[str] = ()
) -> tuple[CaseFile, ...]:
    """The cases of :func:`find_inputs`."""
    return find_inputs(source, output, split=split, formats=formats).cases


def find_inputs(
    source: Path, output: Path, *, split: bool = False, formats: Sequence[str] = ()
) -> Inputs:
    """Find the cases in a file or folder, and name each one's output; creates nothing.

    Files are recognized by their content. Label maps, pictures and other files beside the images
    are passed over and named.

    Args:
        source: An image, one DICOM file of many frames, or an archive; a folder of images (where
            all of them are named ``NAME_0000``, nnU-Net's name for the first channel, their cases
            are called ``NAME``); the folder of a DICOM series, or of a disc with its DICOMDIR; a
            folder of folders with one series or image each; or a folder of patients with their
            studies, of which each is a case.
        output: A file or an existing folder for one image, a folder for a folder of images.
        split: Outputs are folders of one file per organ.
        formats: The formats to write; none for the one that the output's name ends like, or
            otherwise each image's own where it can hold labels.

    Raises:
        InputError: There is no image, it is ambiguous which is meant, two cases would write the
            same output, ``output`` is of the wrong kind or would replace an image, or a format
            needs what the image does not have.
        MissingExtraError: A package that writes a format is not installed.
        OutputError: The output folder cannot be written.
    """
    if formats:
        check_formats(formats, split=split)
    found = _find(source, output)
    cases = (
        _one(found, output, split=split, formats=formats)
        if found.single
        else _several(found, source, output=output, split=split, formats=formats)
    )
    _check_outputs(cases)
    for folder in {case.output if split else case.output.parent for case in cases}:
        check_folder(folder)
    return Inputs(cases, describe(found.passed_over, root=source))


def _find(source: Path, output: Path) -> _Found:
    if source.is_file():
        return _file(source)
    if not source.is_dir():
        if source.exists():
            raise InputError(
                f"{source}: is a pipe or device; expected an image file or a folder of images"
            )
        raise InputError(
            f"{source}: no such file or folder; expected an image or a folder of images"
        )
    listing = _listed(source)
    passed = {**listing.passed_over, LABELS: listing.labels}
    if holds_dicom(source) or (source / "DICOMDIR").is_file():
        if listing.images:
            raise InputError(
                f"{source}: holds a DICOM series and {_named(listing.images)}; which is meant is "
                "not clear, give the image by its name, or keep the series in a folder of its own"
            )
        # The series' reader looks at every file and names those that it passes over.
        return _Found(((source.resolve().name, source),), True, {})
    folders = [folder for folder in listing.folders if folder.resolve() != output.resolve()]
    if listing.images:
        channels = channels_of(listing.images)
        if channels:
            raise InputError(
                f"{source}: holds {len(channels)} channels of each case "
                f"({_named(listing.images)}); expected one, the CT; put the files of that channel "
                "into a folder of their own"
            )
        names = case_names(listing.images)
        return _Found(
            tuple((names[path], path) for path in listing.images),
            False,
            {**passed, FOLDER: folders},
        )
    return _case_folders(source, folders, passed)


def _file(source: Path) -> _Found:
    if content_of(source) == "dicom":
        if not has_frames(source):
            raise single_file(source)
        return _Found(((source.stem, source),), True, {})
    name = stem(source)
    if name.endswith("_0000"):
        beside = _listed(source.resolve().parent).images
        name = (
            case_names({*beside, source.resolve()})[source.resolve()]
            if stem(source.resolve()) == name
            else name
        )
    return _Found(((name, source),), True, {})


def _case_folders(
    source: Path, folders: Sequence[Path], passed: Mapping[str, Sequence[Path]]
) -> _Found:
    """The cases of a folder whose folders hold one series or image each."""
    images: list[tuple[str, Path]] = []
    over = {kind: list(paths) for kind, paths in passed.items()}
    many: list[Path] = []
    studies = study_folders(source)
    if studies == (source,):  # its folders are the series of one study
        return _Found(((source.resolve().name, source),), True, {})
    for folder in folders:
        inside = _listed(folder)
        series = holds_dicom(folder, deep=True)
        if series and inside.images:
            raise InputError(
                f"{folder}: holds a DICOM series and {_named(inside.images)}; which is meant is "
                "not clear, take one out"
            )
        if len(inside.images) > 1:
            many.append(folder)
        elif series:  # whose reader names what it passes over
            own = [place for place in studies if place == folder or folder in place.parents]
            images += [
                ("_".join(place.relative_to(source).parts), place) for place in own or [folder]
            ]
        elif inside.images:
            images.append((folder.name, inside.images[0]))
            for kind, paths in {**inside.passed_over, LABELS: inside.labels}.items():
                over.setdefault(kind, []).extend(paths)
        else:
            over.setdefault(f"{FOLDER} without an image", []).append(folder)
    if many and images:
        raise InputError(
            f"{many[0]}: holds several images, other folders in {source} one each; expected one "
            "image or series per case"
        )
    if not images:
        raise InputError(_no_image_message(source, folders, passed))
    return _Found(tuple(images), False, over)


def _no_image_message(
    source: Path, folders: Sequence[Path], passed: Mapping[str, Sequence[Path]]
) -> str:
    hint = ""
    if folders:
        names = ", ".join(folder.name for folder in folders[:5])
        hint = f"; it has the folders {names}, name the one that holds the images"
    passed_over = "".join(f"; {line}" for line in describe(passed, root=source))
    return (
        f"{source}: no image in this folder; expected files that end in .nii.gz, .nii, .nrrd, "
        f".mha or .mgz, or DICOM series{hint}{passed_over}"
    )


def _listed(folder: Path) -> Listing:
    try:
        return list_folder(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); choose a folder that you may read"
        ) from error


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3]) + (
        f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    )


def _one(
    found: _Found, output: Path, *, split: bool, formats: Sequence[str]
) -> tuple[CaseFile, ...]:
    ((id, source),) = found.images
    formats = formats or formats_of(source, output)
    if split:
        return (CaseFile(id, source, output),)
    named = has_ending(output.name, formats)
    if not named and not (output.is_dir() or output.suffix == ""):
        endings = " or ".join(
            dict.fromkeys(ending for name in formats for ending in FORMATS[name].endings)
        )
        raise InputError(
            f"{output}: an output file ends in {endings}; without an ending it is a folder"
        )
    check_formats(formats, split=split)
    check_source(source, formats)
    path = output if named else output / f"{id}{FORMATS[formats[0]].endings[0]}"
    return (CaseFile(id, source, path, tuple(formats)),)


def _several(
    found: _Found, source: Path, *, output: Path, split: bool, formats: Sequence[str]
) -> tuple[CaseFile, ...]:
    if has_ending(output.name, tuple(FORMATS)) or output.is_file():
        raise InputError(
            f"{output}: {source} is a folder of {len(found.images)} images, so the output must be "
            "a folder too"
        )
    if output.resolve() == source.resolve():
        raise InputError(
            f"{output}: is the folder of the images; label maps there would be taken for images, "
            "choose another folder"
        )
    cases: dict[str, CaseFile] = {}
    for id, path in found.images:
        other = cases.get(same_name(id))
        if other is not None:
            raise InputError(
                f"{other.source} and {path}: are both case {id}; rename one, or their outputs "
                "would be the same file"
            )
        own = ("nifti",) if split else tuple(formats) or formats_of(path)
        check_source(path, own)
        file = output / id if split else output / f"{id}{FORMATS[own[0]].endings[0]}"
        cases[same_name(id)] = CaseFile(id, path, file, own)
    return tuple(cases.values())


def _check_outputs(cases: Iterable[CaseFile]) -> None:
    """Refuse outputs that would replace an image, even through links, or whose name is too long."""
    images = {case.source.resolve() for case in cases}
    for case in cases:
        size = len(os.fsencode(case.output.name))
        if size > _NAME_BYTES:
            raise InputError(
                f"{case.output}: a name of {size} bytes; expected at most {_NAME_BYTES}, rename "
                f"{case.source.name}"
            )
        if case.output.resolve() in images:
            raise InputError(
                f"{case.output}: is the image itself, which the labels would replace; give the "
                "output another name"
            )
