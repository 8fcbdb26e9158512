"""The formats that a segmentation can be written in: what each needs, what its file is called, who writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nnstudent
from nnstudent.bundle.bundle import Model
from nnstudent.errors import InputError, require
from nnstudent.io.dicom import Series
from nnstudent.io.dicom_seg import write_seg
from nnstudent.io.dicom_source import Algorithm, read_headers
from nnstudent.io.nifti import write_labels
from nnstudent.io.nrrd import write_seg_nrrd
from nnstudent.io.rtstruct import write_rtstruct
from nnstudent.volume import Volume

# What a name may end in, longest first; the first is what a file is called that has no name yet.
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
    """Find out before the work whether these formats can be written.

    Raises:
        InputError: There is no such format, or ``split`` is asked for and it holds every organ by itself anyway.
        MissingExtraError: What writes it is not installed.
    """
    for name in formats or ("",):
        if name not in FORMATS:
            raise InputError(f"format {name!r}; expected one of {', '.join(FORMATS)}")
        if split and name != "nifti":
            raise InputError(f"format {name} with one file an organ; it keeps the organs apart in one file, leave out --split")
        if name in _LIBRARY:
            require(_LIBRARY[name], extra="dicom", why=f"writing {name}")


def check_source(source: Path, formats: Sequence[str], series: Series | None = None) -> None:
    """See that an image can be written in these formats.

    Args:
        source: The image's file, or the folder of its series.
        formats: The formats.
        series: The series, once it was read.

    Raises:
        InputError: It is no DICOM series, or one without UIDs, and a format refers to one.
    """
    for name in formats:
        if name in _OF_A_SERIES and series is not None:
            read_headers(series.stack)
        if name in _OF_A_SERIES and source.is_file():
            raise InputError(
                f"{source}: {name} refers to the DICOM series that was segmented; give the folder of the series, or use seg.nrrd"
            )


def fits(name: str, formats: Sequence[str]) -> bool:
    """Whether a file's name ends as one of the formats does."""
    return any(name.lower().endswith(ENDINGS[format]) for format in formats)


def bare(name: str) -> str:
    """A file's name without the ending of any format."""
    endings = sorted({ending for endings in ENDINGS.values() for ending in endings}, key=len, reverse=True)
    return name[: -len(next((ending for ending in endings if name.lower().endswith(ending)), "")) or None]


def paths(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The file of each format: the given name for the first that it fits, beside it the same with another ending for the others."""
    taken = next((format for format in formats if fits(output.name, [format])), None)
    return {format: output if format == taken else output.with_name(bare(output.name) + ENDINGS[format][0]) for format in formats}


def write(format: str, path: Path, labels: Volume, *, model: Model, source: Path, series: Series | None) -> None:
    """Write a label map in one format.

    Args:
        format: One of ``FORMATS``.
        path: Where to.
        labels: On the image's grid, ids of the model's label table.
        model: What made them.
        source: The image's file, or the folder of its series.
        series: The series that was read, or None where the image is a file.

    Raises:
        InputError: The format refers to a DICOM series, and there is none or it cannot be referred to; or nothing was found.
        OutputError: ``path`` cannot be written.
    """
    if format == "nifti":
        write_labels(path, labels, like=source if series is None else None)
    elif format == "seg.nrrd":
        write_seg_nrrd(path, labels, model.taxonomy)
    elif series is None:
        check_source(source, [format])
    else:
        name = "nnStudent bundled student" if model.bundled else f"nnStudent {model.path.resolve().name}"
        algorithm = Algorithm(name[:64], nnstudent.__version__, model.hash)
        (write_seg if format == "dicom-seg" else write_rtstruct)(path, labels, series, model.taxonomy, algorithm=algorithm)
