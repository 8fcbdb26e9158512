"""The output formats of a segmentation: what each needs, its file names, and its writer.

To add a format, write a function like :func:`_write_nifti`, give it a line in :data:`FORMATS`, and
add its name to ``choices.py``, which ``--help`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nnstudent
from nnstudent.bundle.bundle import Model
from nnstudent.errors import InputError, one_line, require
from nnstudent.io.content import content_of
from nnstudent.io.dicom.derived import Algorithm, Identity, LabeledSeries
from nnstudent.io.dicom.origin import Origin, read_origin
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import check_seg, write_seg
from nnstudent.io.dicom.series import Series
from nnstudent.io.dicom.sr import Finding, write_sr
from nnstudent.io.metaimage import write_metaimage
from nnstudent.io.nifti import write_labels
from nnstudent.io.nrrd import write_nrrd, write_seg_nrrd
from nnstudent.io.scan import is_series
from nnstudent.volume import Volume


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
        if split and not FORMATS[name].splits:
            raise InputError(
                f"format {name} with one file an organ; it keeps the organs apart in one file, "
                "leave out --split"
            )
        library = FORMATS[name].library
        if library is not None:
            require(library, extra="dicom", why=f"writing {name}")


@dataclass(frozen=True, eq=False)
class Sources:
    """The source data that output formats refer to, collected before the network runs.

    Attributes:
        source: The image file, or what holds its series.
        series: The series that was read, or None if the image is a file.
        origin: What DICOM objects copy from the series, if any are to be written.
        refused: Why a format cannot be written, by format.
        warnings: What a reader should know, one line each.
        notes: What DICOM objects say of a class, by its name.
        findings: What a structured report says of a class, by its name.
        segmentation: The UIDs of the DICOM-SEG, if one is to be written.
    """

    source: Path
    series: Series | None = None
    origin: Origin | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    segmentation: Identity | None = None


def prepare(
    source: Path, formats: Sequence[str], *, series: Series | None, new_uids: bool = False
) -> Sources:
    """Check before the network runs which of these formats can be written.

    Args:
        source: The image file, or what holds its series.
        formats: The formats.
        series: The series that was read, or None if the image is a file.
        new_uids: Derive UIDs that the series lacks from its content.

    Raises:
        InputError: None of the formats can be written.
    """
    check_source(source, formats)
    wanted = [name for name in formats if FORMATS[name].of_series]
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
    return Sources(
        source,
        series,
        origin,
        refused,
        origin.warnings if origin else (),
        segmentation=Identity.new() if "dicom-seg" in formats else None,
    )


def check_source(source: Path, formats: Sequence[str]) -> None:
    """Check that a file is not to be written in a format that refers to a DICOM series.

    Args:
        source: The image file, or what holds its series.
        formats: The formats.

    Raises:
        InputError: The image is not a DICOM series, and a format refers to one.
    """
    for name in formats:
        if FORMATS[name].of_series and not is_series(source):
            raise _without_series(source, name)


def _without_series(source: Path, format: str) -> InputError:
    return InputError(
        f"{source}: {format} refers to the DICOM series that was segmented; give the folder of the "
        f"series, or use {'--statistics' if format == 'dicom-sr' else 'seg.nrrd'}"
    )


def formats_of(source: Path, output: Path | None = None) -> tuple[str, ...]:
    """The format to write where none was asked for.

    Args:
        source: A scan.
        output: The file or folder to write, if the scan is the only one.

    Returns:
        The format that the output's name ends like; otherwise that of the scan, if it can hold
        labels and names; otherwise NIfTI.
    """
    if output is not None and not output.is_dir():
        for name, format in FORMATS.items():
            if not format.of_series and has_ending(output.name, [name]):
                return (name,)
    try:
        content = content_of(source) if source.is_file() else "other"
    except OSError:  # reading the scan says why
        return ("nifti",)
    return ({"nrrd": "seg.nrrd", "metaimage": "mha"}.get(content, "nifti"),)


def has_ending(name: str, formats: Sequence[str]) -> bool:
    """Whether a file name has an ending of one of the formats; the longest one counts."""
    return any(_ending(name) in FORMATS[format].endings for format in formats)


def without_ending(name: str) -> str:
    """A file name without the ending of any format."""
    return name[: len(name) - len(_ending(name))]


def _ending(name: str) -> str:
    """The longest ending of any format that a file name has; empty if it has none."""
    endings = {ending for format in FORMATS.values() for ending in format.endings}
    return max((end for end in endings if name.lower().endswith(end)), key=len, default="")


def output_paths(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The file of each format.

    The first format whose ending fits gets the given name; the others lie beside it under the same
    name with their own endings.
    """
    taken = next((format for format in formats if has_ending(output.name, [format])), None)
    return {
        format: output
        if format == taken
        else output.with_name(without_ending(output.name) + FORMATS[format].endings[0])
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
    for name, path in sorted(files.items(), key=lambda file: file[0] == "dicom-sr"):
        if name in sources.refused:
            failed[name] = f"{path}: not written: {sources.refused[name]}"
            continue
        if "dicom-seg" in failed:  # a report refers to it only if it is there
            sources = replace(sources, segmentation=None)
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
    FORMATS[format].write(path, labels, model, sources)


def _write_nifti(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_labels(path, labels, like=sources.source if sources.series is None else None)


def _write_nrrd(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_seg_nrrd(path, labels, taxonomy=model.taxonomy)


def _write_plain_nrrd(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_nrrd(path, labels)


def _write_mha(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_metaimage(path, labels)


def _write_seg(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_seg(path, _labeled("dicom-seg", labels, model, sources))


def _write_sr(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    labeled = _labeled("dicom-sr", labels, model, sources)
    write_sr(path, labeled, sources.findings, segmentation=sources.segmentation)


def _write_rtstruct(path: Path, labels: Volume, model: Model, sources: Sources) -> None:
    write_rtstruct(path, _labeled("rtstruct", labels, model, sources))


def _labeled(format: str, labels: Volume, model: Model, sources: Sources) -> LabeledSeries:
    if sources.series is None:
        raise _without_series(sources.source, format)
    name = (
        "nnStudent bundled student"
        if model.bundled
        else f"nnStudent {_plain(model.path.resolve().name)}"
    )
    return LabeledSeries.of(
        labels,
        sources.series,
        taxonomy=model.taxonomy,
        algorithm=Algorithm(name[:64], nnstudent.__version__, model.hash),
        origin=sources.origin,
        notes=sources.notes,
        identity=sources.segmentation,
    )


def _plain(name: str) -> str:
    """A name that is valid as a DICOM value, without backslashes and control characters.

    A backslash would split it into two values, and control characters switch alphabets.
    """
    return "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in name)


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        endings: Endings of its file names, longest first; the first one names new files.
        write: Writes a label map to a file.
        library: The package of the extra ``dicom`` that writes it, or None.
        of_series: Whether it refers to the DICOM series that was segmented.
        splits: Whether each organ can get a file of its own.
    """

    endings: tuple[str, ...]
    write: Callable[[Path, Volume, Model, Sources], None]
    library: str | None = None
    of_series: bool = False
    splits: bool = False


FORMATS: dict[str, Format] = {
    "nifti": Format((".nii.gz", ".nii"), _write_nifti, splits=True),
    "dicom-seg": Format((".seg.dcm", ".dcm"), _write_seg, library="highdicom", of_series=True),
    "dicom-sr": Format((".sr.dcm", ".dcm"), _write_sr, library="highdicom", of_series=True),
    "rtstruct": Format(
        (".rtstruct.dcm", ".dcm"), _write_rtstruct, library="contourpy", of_series=True
    ),
    "seg.nrrd": Format((".seg.nrrd",), _write_nrrd),
    "nrrd": Format((".nrrd",), _write_plain_nrrd),
    "mha": Format((".mha",), _write_mha),
}
