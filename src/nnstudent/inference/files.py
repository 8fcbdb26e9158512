"""Files in, files out: one image or a folder of them, each case by itself, what failed named."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nnstudent.errors import Failure, InputError, NnStudentError, OutputError
from nnstudent.inference.formats import ENDINGS, FORMATS, bare, check_formats, check_source, fits, paths, write
from nnstudent.inference.segmenter import Segmentation, Segmenter
from nnstudent.inference.statistics import write_statistics
from nnstudent.io.atomic import check_folder
from nnstudent.io.dicom import Series, read_series
from nnstudent.io.dicom_files import holds_dicom
from nnstudent.io.nifti import is_image, read_grid, read_image, stem, write_labels
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

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


@dataclass(frozen=True)
class Options:
    """What to write.

    Attributes:
        organs: Only these classes; empty for all.
        split: One file a class instead of one label map.
        skip_existing: Leave cases alone whose output is there.
        preview: Also write a picture beside each output.
        statistics: Also write volume and density of each class as CSV beside each output.
        series: Number or UID of the DICOM series to take; None for the one that there is.
        formats: Some of :data:`~nnstudent.inference.formats.FORMATS`; the first is the one that the report names.
    """

    organs: tuple[str, ...] = ()
    split: bool = False
    skip_existing: bool = False
    preview: bool = False
    statistics: bool = False
    series: str | None = None
    formats: tuple[str, ...] = ("nifti",)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What was made of one image.

    Attributes:
        case: The case.
        segmentation: Labels and facts, as written.
        seconds: ``read``, ``preprocess``, ``network``, ``restore``, ``write`` and ``total``.
        peak_rss_mb: Highest resident memory of the process so far, in MB.
    """

    case: CaseFile
    segmentation: Segmentation
    seconds: dict[str, float]
    peak_rss_mb: float

    def row(self) -> dict[str, Any]:
        """As the case's entry in the report."""
        facts = self.segmentation
        return {
            "id": self.case.id,
            "input": str(self.case.source),
            "output": str(self.case.output),
            "engine": facts.engine,
            "precision": facts.precision,
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "predicted_peak_mb": round(facts.predicted_peak_mb, 1),
            "windows": dict(facts.windows),
            "warnings": list(facts.warnings),
            "organs": {
                name: {
                    "volume_ml": round(organ.volume_ml, 3),
                    "touches_border": organ.touches_border,
                    "confidence": None if organ.confidence is None else round(organ.confidence, 4),
                }
                for name, organ in facts.organs.items()
            },
        }


@dataclass(frozen=True)
class FilesResult:
    """What became of all cases.

    Attributes:
        rows: An entry for the report for each case that was done.
        skipped: Ids of the cases whose output was there.
        failures: Cases that failed while the others were done.
        last: The last case that was done, or None.
    """

    rows: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    last: CaseResult | None = field(default=None, compare=False)


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


def segment_files(
    source: Path, output: Path, segmenter: Segmenter, *, options: Options | None = None, progress: Progress = silent
) -> FilesResult:
    """Segment an image or a folder of images.

    Args:
        source: See :func:`find_cases`.
        output: See :func:`find_cases`.
        segmenter: The model.
        options: What to write.
        progress: Told after each window; after each case if there are several.

    Raises:
        InputError: There is nothing to segment, an organ is not one of the model's, or a format cannot be written.
        MissingExtraError: What writes a format is not installed.
        OutputError: The output's folder cannot be written.
    """
    options = options or Options()
    for name in options.organs:
        if name not in segmenter.model.classes:
            raise InputError(f"organ {name!r}: this model finds {', '.join(segmenter.model.classes)}")
    cases = find_cases(source, output, split=options.split, formats=options.formats)
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    failures: list[Failure] = []
    last: CaseResult | None = None
    for done, case in enumerate(cases, start=1):
        if options.skip_existing and all(path.is_file() for path in _outputs(case, segmenter, options)):
            skipped.append(case.id)
        else:
            try:
                last = segment_file(case, segmenter, options=options, progress=progress if len(cases) == 1 else silent)
                rows.append(last.row())
            except OutputError:
                raise  # the next case would fail in the same way
            except (NnStudentError, OSError, MemoryError, RuntimeError) as error:  # engines raise RuntimeError when memory runs out
                failures.append(Failure(case.id, " ".join(str(error).split()) or type(error).__name__))
        if len(cases) > 1:
            progress("cases", done, len(cases))
    return FilesResult(tuple(rows), tuple(skipped), tuple(failures), last)


def segment_file(case: CaseFile, segmenter: Segmenter, *, options: Options | None = None, progress: Progress = silent) -> CaseResult:
    """Segment one image and write what the options say.

    Raises:
        InputError: The image cannot be used.
        GeometryError: As ``InputError``, for its geometry.
        OutputError: The output cannot be written.
    """
    options = options or Options()
    began = time.perf_counter()
    if case.source.is_file():
        segmenter.plan(read_grid(case.source))  # what cannot fit is refused before it is read
    image, series = read_source(case.source, series=options.series)
    check_source(case.source, options.formats, series)
    read = time.perf_counter() - began
    result = segmenter(image, progress=progress)
    if series is not None:
        result = replace(result, warnings=(*series.warnings, *result.warnings))
    if options.organs:
        result = only(result, options.organs, segmenter.taxonomy)
    writing = time.perf_counter()
    if options.split:
        like = case.source if case.source.is_file() else None
        for name, path in zip(_names(segmenter, options), _outputs(case, segmenter, options), strict=True):
            mask = (result.labels.array == segmenter.taxonomy[name].id).astype(np.uint8)
            write_labels(path, Volume(mask, image.grid), like=like)
    else:
        for name, path in paths(case.output, options.formats).items():
            write(name, path, result.labels, model=segmenter.model, source=case.source, series=series)
    if options.preview:
        from nnstudent.inference.preview import write_preview  # imports what draws, which is slow

        write_preview(_beside(case, options, "preview", ".png"), image, result.labels, segmenter.taxonomy, title=case.id)
    if options.statistics:
        write_statistics(_beside(case, options, "statistics", ".csv"), case.id, image, result, segmenter.taxonomy)
    now = time.perf_counter()
    seconds = {"read": read, **result.seconds, "write": now - writing, "total": now - began}
    return CaseResult(
        case, result, {key: seconds[key] for key in ("read", "preprocess", "network", "restore", "write", "total")}, peak_rss_mb()
    )


def only(result: Segmentation, organs: Sequence[str], taxonomy: Taxonomy) -> Segmentation:
    """The same result with no class but these."""
    kept = taxonomy.sorted(organs)
    table = np.zeros(256, np.uint8)
    for name in kept:
        table[taxonomy[name].id] = taxonomy[name].id
    labels = Volume(table[result.labels.array], result.labels.grid)
    return replace(result, labels=labels, organs={name: result.organs[name] for name in kept})


def peak_rss_mb() -> float:
    """Highest resident memory of this process so far, in MB; where the system does not keep it, the present one."""
    with suppress(OSError):  # Linux; getrusage would count what started this process, too, until it had its own memory
        status = Path("/proc/self/status").read_text("ascii", "replace")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource  # not on Windows
        import sys
    except ImportError:
        info = psutil.Process().memory_info()
        return float(getattr(info, "peak_wset", info.rss)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def read_source(source: Path, *, series: str | None = None, ask: bool = True) -> tuple[Volume, Series | None]:
    """Read an image file or the folder of a DICOM series: the image, and what else is known of it where it is a series.

    Args:
        source: An image file, or the folder of a series.
        series: Number or UID of the series to take.
        ask: Whether somebody can be asked to name a series if several could be meant; else one is taken by a rule.

    Raises:
        InputError: The image cannot be used, or several series could be meant.
        GeometryError: As ``InputError``, for its geometry.
        MissingExtraError: What reads DICOM is not installed.
    """
    if source.is_file():
        return read_image(source), None
    read = read_series(source, series=series, ask=ask)
    return read.volume, read


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image(path) and not _is_pair(path))


def _is_pair(path: Path) -> bool:
    """Whether this is the voxel file of a two-file image, whose header file stands for it."""
    return path.suffix.lower() == ".img" and path.with_suffix(".hdr").is_file()


def _names(segmenter: Segmenter, options: Options) -> tuple[str, ...]:
    return segmenter.taxonomy.sorted(options.organs) if options.organs else segmenter.model.classes


def _outputs(case: CaseFile, segmenter: Segmenter, options: Options) -> list[Path]:
    if options.split:
        return [case.output / f"{name}.nii.gz" for name in _names(segmenter, options)]
    return list(paths(case.output, options.formats).values())


def _beside(case: CaseFile, options: Options, name: str, ending: str) -> Path:
    return case.output / f"{name}{ending}" if options.split else case.output.with_name(f"{bare(case.output.name)}{ending}")
