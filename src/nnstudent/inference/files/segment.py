"""Files in, files out: one image or a folder of them, each case by itself, what failed named."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nnstudent.cases import attempt
from nnstudent.errors import Failure, InputError
from nnstudent.inference.files.find import CaseFile, find_cases
from nnstudent.inference.files.formats import (
    Sources,
    output_paths,
    prepare,
    without_ending,
    write_formats,
)
from nnstudent.inference.labels.volumetry import write_statistics
from nnstudent.inference.pipelining import (
    MemoryReservation,
    Stages,
    run_pipelined,
    run_serial,
    run_stages,
)
from nnstudent.inference.segmenter import Segmentation, Segmenter
from nnstudent.io.dicom.series import Series, read_series
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_grid, read_image, write_labels
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


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
        formats: Some of :data:`~nnstudent.inference.files.formats.FORMATS`; the first is the one that the report names.
        new_uids: Derive UIDs that a DICOM series lacks, and that DICOM outputs need, from its content.
    """

    organs: tuple[str, ...] = ()
    split: bool = False
    skip_existing: bool = False
    preview: bool = False
    statistics: bool = False
    series: str | None = None
    formats: tuple[str, ...] = ("nifti",)
    new_uids: bool = False


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What was made of one image.

    Attributes:
        case: The case.
        segmentation: Labels and facts, as written.
        seconds: ``read``, ``preprocess``, ``network``, ``restore``, ``write`` and ``total``.
        peak_rss_mb: Highest resident memory of the process so far, in MB.
        outputs: The file of each format; empty where each organ is a file.
        failed: Why a format was not written while others were, by format.
    """

    case: CaseFile
    segmentation: Segmentation
    seconds: dict[str, float]
    peak_rss_mb: float
    outputs: Mapping[str, Path] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As the case's entry in the report."""
        facts = self.segmentation
        outputs = {
            name: str(path) for name, path in self.outputs.items() if name not in self.failed
        }
        return {
            "id": self.case.id,
            "input": str(self.case.source),
            "output": next(iter(outputs.values()), str(self.case.output)),
            **({"outputs": outputs} if len(self.outputs) > 1 else {}),
            **({"failed": dict(self.failed)} if self.failed else {}),
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
        failures: Cases that failed while the others were done, and formats of a case that failed while its others were written.
    """

    rows: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


def segment_files(
    source: Path,
    output: Path,
    segmenter: Segmenter,
    *,
    options: Options | None = None,
    progress: Progress = silent,
) -> FilesResult:
    """Segment an image or a folder of images.

    Args:
        source: See :func:`find_cases`.
        output: See :func:`find_cases`.
        segmenter: The model.
        options: What to write.
        progress: Told after each window; if there are several cases after each, by another thread.

    Raises:
        InputError: There is nothing to segment, an organ is not one of the model's, or a format cannot be written.
        MissingExtraError: What writes a format is not installed.
        OutputError: The output's folder cannot be written.
    """
    options = options or Options()
    for name in options.organs:
        if name not in segmenter.model.classes:
            raise InputError(
                f"organ {name!r}: this model finds {', '.join(segmenter.model.classes)}"
            )
    cases = find_cases(source, output, split=options.split, formats=options.formats)
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    failures: list[Failure] = []
    reservation = segmenter.memory_reservation()
    several = len(cases) > 1
    numbers = count()

    def take(outcome: Future[dict[str, Any] | None]) -> None:
        number = next(numbers)
        case = cases[number]
        row = attempt(case, lambda _: outcome.result(), files=lambda case: (case.source,))
        if isinstance(row, Failure):
            failures.append(row)
        elif row is None:
            skipped.append(case.id)
        else:
            rows.append(row)
            told = f"; written: {', '.join(row['outputs'].values())}" if "failed" in row else ""
            failures.extend(
                Failure(case.id, f"{reason}{told}") for reason in row.get("failed", {}).values()
            )
        if several:
            progress("cases", number + 1, len(cases))

    work = (
        _row(case, segmenter, options, reservation, silent if several else progress)
        for case in cases
    )
    # Calls that each segment one image may share a folder.
    with writing(output) if several else nullcontext():
        # Who allows one thread keeps the other cores for something else.
        if several and segmenter.threads > 1 and segmenter.peak_is_predictable:
            run_pipelined(work, take, reservation=reservation)
        else:
            run_serial(work, take)
    return FilesResult(tuple(rows), tuple(skipped), tuple(failures))


def segment_file(
    case: CaseFile,
    segmenter: Segmenter,
    *,
    options: Options | None = None,
    progress: Progress = silent,
) -> CaseResult:
    """Segment one image and write what the options say.

    Raises:
        InputError: The image cannot be used.
        GeometryError: As ``InputError``, for its geometry.
        OutputError: The output cannot be written.
    """
    return run_stages(
        _stages(case, segmenter, options or Options(), segmenter.memory_reservation(), progress)
    )


def _row(
    case: CaseFile,
    segmenter: Segmenter,
    options: Options,
    reservation: MemoryReservation,
    progress: Progress,
) -> Stages[dict[str, Any] | None]:
    """Of one case the entry in the report, without its labels, which take memory; None where it is skipped."""
    if options.skip_existing and all(path.is_file() for path in _outputs(case, segmenter, options)):
        return None
    result = yield from _stages(case, segmenter, options, reservation, progress)
    return result.row()


def _stages(
    case: CaseFile,
    segmenter: Segmenter,
    options: Options,
    reservation: MemoryReservation,
    progress: Progress,
) -> Stages[CaseResult]:
    try:
        # What cannot fit is refused before it is read; of DICOM the size is known only then.
        plan = (
            segmenter.plan(read_grid(case.source), base_mb=reservation.base_mb)
            if case.source.is_file()
            else None
        )
        reservation.acquire(case.id, plan.peak_mb if plan else None)
        began = time.perf_counter()
        image, series = read_scan(case.source, series=options.series)
        sources = prepare(case.source, options.formats, series, new_uids=options.new_uids)
        read = time.perf_counter() - began
        plan = segmenter.plan(image.grid, image=image, base_mb=reservation.base_mb)
        reservation.acquire(case.id, plan.peak_mb)
        result = yield from segmenter.stages(image, plan=plan, progress=progress)
        began = time.perf_counter()
        warnings = (*(series.warnings if series else ()), *sources.warnings, *result.warnings)
        result = replace(
            result,
            warnings=warnings,
            predicted_peak_mb=max(result.predicted_peak_mb, reservation.highest_mb),
        )
        if options.organs:
            result = keep_organs(result, options.organs, segmenter.taxonomy)
        outputs = {} if options.split else output_paths(case.output, options.formats)
        failed = _write(case, image, sources, outputs, result, segmenter, options)
        write = time.perf_counter() - began
        seconds = {
            "read": read,
            **result.seconds,
            "write": write,
            "total": read + result.seconds["total"] + write,
        }
        stages = ("read", "preprocess", "network", "restore", "write", "total")
        return CaseResult(
            case, result, {key: seconds[key] for key in stages}, peak_rss_mb(), outputs, failed
        )
    finally:
        reservation.release(case.id)


def _write(
    case: CaseFile,
    image: Volume,
    sources: Sources,
    outputs: Mapping[str, Path],
    result: Segmentation,
    segmenter: Segmenter,
    options: Options,
) -> dict[str, str]:
    """Write all that was asked for; returns why a format was not written while others were."""
    failed: dict[str, str] = {}
    if options.split:
        like = case.source if case.source.is_file() else None
        for name, path in zip(
            _names(segmenter, options), _outputs(case, segmenter, options), strict=True
        ):
            mask = (result.labels.array == segmenter.taxonomy[name].id).astype(np.uint8)
            write_labels(path, Volume(mask, image.grid), like=like)
    else:
        failed = write_formats(outputs, result.labels, model=segmenter.model, sources=sources)
    if options.preview:
        from nnstudent.inference.files.preview import (
            write_preview,  # imports what draws, which is slow
        )

        write_preview(
            _beside(case, options, "preview", ".png"),
            image,
            result.labels,
            segmenter.taxonomy,
            title=case.id,
        )
    if options.statistics:
        write_statistics(
            _beside(case, options, "statistics", ".csv"), case.id, image, result, segmenter.taxonomy
        )
    return failed


def keep_organs(result: Segmentation, organs: Sequence[str], taxonomy: Taxonomy) -> Segmentation:
    """The same result with no class but these."""
    kept = taxonomy.sorted(organs)
    table = np.zeros(256, np.uint8)
    for name in kept:
        table[taxonomy[name].id] = taxonomy[name].id
    labels = Volume(table[result.labels.array], result.labels.grid)
    return replace(result, labels=labels, organs={name: result.organs[name] for name in kept})


def peak_rss_mb() -> float:
    """Highest resident memory of this process so far, in MB; where the system does not keep it, the present one."""
    with suppress(
        OSError
    ):  # Linux; getrusage would count what started this process, too, until it had its own memory
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


def read_scan(
    source: Path, *, series: str | None = None, ask: bool = True
) -> tuple[Volume, Series | None]:
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


def _names(segmenter: Segmenter, options: Options) -> tuple[str, ...]:
    return segmenter.taxonomy.sorted(options.organs) if options.organs else segmenter.model.classes


def _outputs(case: CaseFile, segmenter: Segmenter, options: Options) -> list[Path]:
    if options.split:
        return [case.output / f"{name}.nii.gz" for name in _names(segmenter, options)]
    return list(output_paths(case.output, options.formats).values())


def _beside(case: CaseFile, options: Options, name: str, ending: str) -> Path:
    return (
        case.output / f"{name}{ending}"
        if options.split
        else case.output.with_name(f"{without_ending(case.output.name)}{ending}")
    )
