"""The output formats of a segmentation: what each needs, its file name, and its writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nnstudent
from nnstudent.bundle.bundle import Model
from nnstudent.errors import InputError, one_line, require
from nnstudent.io.dicom.derived import Algorithm, LabeledSeries
from nnstudent.io.dicom.origin import Origin, read_origin
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import check_seg, write_seg
from nnstudent.io.dicom.series import Series
from nnstudent.io.nifti import write_labels
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.volume import Volume

# Endings of file names, longest first; the first one names new files.
ENDINGS = {
    "nifti": (".nii.gz", ".nii"),
    "dicom-seg": (".seg.dcm", ".dcm"),
    "rtstruct": (".rtstruct.dcm", ".dcm"),
    "seg.nrrd": (".seg.nrrd",),
}
FORMATS = tuple(ENDINGS)
_LIBRARY = {"dicom-seg": "highdicom", "rtstruct": "contourpy", "seg.nrrd": "nrrd"}
_OF_A_SERIES = ("dicom-seg", "rtstruct")


def check_formats(formats: Sequence[str], *, split: bool = False) -> None:
    """Check before any work that these formats can be written.

    Args:
        formats: The formats.
        split: Whether each organ gets a file of its own.

    Raises:
        InputError: A format does not exist, or ``split`` is asked for and the format keeps organs
            apart anyway.
        MissingExtraError: A package that writes a format is not installed.
    """
    for name in formats or ("",):
        if name not in FORMATS:
            raise InputError(f"format {name!r}; expected one of {', '.join(FORMATS)}")
        if split and name != "nifti":
            raise InputError(
                f"format {name} with one file an organ; it keeps the organs apart in one file, "
                "leave out --split"
            )
        if name in _LIBRARY:
            require(_LIBRARY[name], extra="dicom", why=f"writing {name}")


@dataclass(frozen=True, eq=False)
class Sources:
    """The source data that output formats refer to, collected before the network runs.

    Attributes:
        source: The image file, or the folder of its series.
        series: The series that was read, or None if the image is a file.
        origin: What DICOM objects copy from the series, if any are to be written.
        refused: Why a format cannot be written, by format.
        warnings: What a reader should know, one line each.
    """

    source: Path
    series: Series | None = None
    origin: Origin | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def prepare(
    source: Path, formats: Sequence[str], *, series: Series | None, new_uids: bool = False
) -> Sources:
    """Check before the network runs which of these formats can be written.

    Args:
        source: The image file, or the folder of its series.
        formats: The formats.
        series: The series that was read, or None if the image is a file.
        new_uids: Derive UIDs that the series lacks from its content.

    Raises:
        InputError: None of the formats can be written.
    """
    check_source(source, formats)
    wanted = [name for name in formats if name in _OF_A_SERIES]
    if series is None or not wanted:
        return Sources(source, series)
    origin, refused = None, {}
    try:
        origin = read_origin(series, new_uids=new_uids)
        if "dicom-seg" in wanted:
            wanted = ["dicom-seg"]
            check_seg(series, origin)
    except InputError as error:
        if set(wanted) == set(formats):
            raise
        refused = dict.fromkeys(wanted, str(error))
    return Sources(source, series, origin, refused, origin.warnings if origin else ())


def check_source(source: Path, formats: Sequence[str]) -> None:
    """Check that a file is not to be written in a format that refers to a DICOM series.

    Args:
        source: The image file, or the folder of its series.
        formats: The formats.

    Raises:
        InputError: The image is not a DICOM series, and a format refers to one.
    """
    for name in formats:
        if name in _OF_A_SERIES and source.is_file():
            raise InputError(
                f"{source}: {name} refers to the DICOM series that was segmented; give the folder "
                "of the series, or use seg.nrrd"
            )


def has_ending(name: str, formats: Sequence[str]) -> bool:
    """Whether a file name has an ending of one of the formats."""
    return any(name.lower().endswith(ENDINGS[format]) for format in formats)


def without_ending(name: str) -> str:
    """A file name without the ending of any format."""
    endings = sorted(
        {ending for endings in ENDINGS.values() for ending in endings}, key=len, reverse=True
    )
    return name[
        : -len(next((ending for ending in endings if name.lower().endswith(ending)), "")) or None
    ]


def output_paths(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The file of each format.

    The first format whose ending fits gets the given name; the others lie beside it under the same
    name with their own endings.
    """
    taken = next((format for format in formats if has_ending(output.name, [format])), None)
    return {
        format: output
        if format == taken
        else output.with_name(without_ending(output.name) + ENDINGS[format][0])
        for format in formats
    }


def write_formats(
    files: Mapping[str, Path], labels: Volume, *, model: Model, sources: Sources
) -> dict[str, str]:
    """Write a label map in several formats; if one fails, the others are written.

    Args:
        files: The file of each format.
        labels: Labels on the image's grid, with ids of the model's label table.
        model: The model that made them.
        sources: What the formats refer to.

    Returns:
        Why a format was not written, by format; empty if all were.

    Raises:
        NnStudentError: See :func:`write_format`; only if no format was written.
    """
    failed: dict[str, str] = {}
    errors: list[Exception] = []
    for name, path in files.items():
        if name in sources.refused:
            failed[name] = f"{path}: not written: {sources.refused[name]}"
            continue
        try:
            write_format(name, path, labels=labels, model=model, sources=sources)
        except Exception as error:  # from whichever library; the other formats are still written
            errors.append(error)
            failed[name] = one_line(error)
    if errors and len(failed) == len(files):
        raise errors[0]
    return failed


def write_format(
    format: str, path: Path, *, labels: Volume, model: Model, sources: Sources
) -> None:
    """Write a label map in one format.

    Args:
        format: One of ``FORMATS``.
        path: The file.
        labels: Labels on the image's grid, with ids of the model's label table.
        model: The model that made them.
        sources: What the format refers to.

    Raises:
        InputError: The format refers to a DICOM series, and there is none or it cannot be referred
            to; or the labels are empty.
        OutputError: ``path`` cannot be written.
    """
    if format == "nifti":
        write_labels(path, labels, like=sources.source if sources.series is None else None)
    elif format == "seg.nrrd":
        write_seg_nrrd(path, labels, taxonomy=model.taxonomy)
    elif sources.series is None:
        check_source(sources.source, [format])
    else:
        name = (
            "nnStudent bundled student"
            if model.bundled
            else f"nnStudent {_plain(model.path.resolve().name)}"
        )
        algorithm = Algorithm(name[:64], nnstudent.__version__, model.hash)
        writer = write_seg if format == "dicom-seg" else write_rtstruct
        labeled = LabeledSeries.of(
            labels,
            sources.series,
            taxonomy=model.taxonomy,
            algorithm=algorithm,
            origin=sources.origin,
        )
        writer(path, labeled)


def _plain(name: str) -> str:
    """A name that is valid as a DICOM value, without backslashes and control characters.

    A backslash would split it into two values, and control characters switch alphabets.
    """
    return "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in name)
