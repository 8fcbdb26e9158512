"""From image files to label maps; a case that fails is named and the others are done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.bundle import Model
from nnstudent.cases import attempt
from nnstudent.errors import Failure, InputError
from nnstudent.inference.files.find import CaseFile, find_cases
from nnstudent.inference.files.formats import output_paths, without_ending, write_formats
from nnstudent.inference.files.maps import write_probabilities, write_uncertainty
from nnstudent.inference.files.meshes import check_mesh, mesh_path, write_mesh
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.scan import SegmentedScan, scan_stages
from nnstudent.inference.files.shared import FilesResult, Share
from nnstudent.inference.labels.volumetry import (
    Row,
    read_statistics,
    statistics_rows,
    write_statistics,
)
from nnstudent.inference.memory import peak_rss_mb
from nnstudent.inference.pipelining import (
    MemoryReservation,
    Stages,
    run_pipelined,
    run_serial,
    run_stages,
)
from nnstudent.inference.segmentation import Segmentation
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.lock import writing
from nnstudent.io.nifti import write_labels
from nnstudent.io.parts import WHOLE
from nnstudent.io.unpacked import unpacked
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import find_classes
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class CaseResult:
    """The result for one case, as written.

    Attributes:
        case: The case.
        segmentation: Labels and facts; its seconds include ``read`` and ``write``.
        peak_rss_mb: Highest resident memory of the process so far, in MiB.
        outputs: The file of each format; empty where each class has a file of its own.
        failed: Why a format or the surfaces were not written while others were, by format.
        files: Every file that was written.
        statistics: The case's rows of ``statistics.csv``, if they were asked for.
    """

    case: CaseFile
    segmentation: Segmentation
    peak_rss_mb: float
    outputs: Mapping[str, Path] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    statistics: tuple[Row, ...] = ()

    def record(self) -> dict[str, Any]:
        """The case's entry in a report: its files, and the record of its segmentation."""
        outputs = {
            name: str(path) for name, path in self.outputs.items() if name not in self.failed
        }
        return {
            "id": self.case.id,
            "input": str(self.case.source),
            "output": next(iter(outputs.values()), str(self.case.output)),
            **({"outputs": outputs} if len(self.outputs) > 1 else {}),
            "files": [str(path) for path in self.files],
            **({"failed": dict(self.failed)} if self.failed else {}),
            **self.segmentation.record(),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
        }


def segment_files(
    source: Path,
    output: Path,
    segmenter: Segmenter | Model | Path | None = None,
    *,
    options: Options | None = None,
    progress: Progress = silent,
) -> FilesResult:
    """Segment an image or a folder of images.

    Args:
        source: See :func:`~nnstudent.inference.files.find.find_cases`.
        output: See :func:`~nnstudent.inference.files.find.find_cases`.
        segmenter: A segmenter, or a model, a path to one, or None for the bundled student: these
            run as the command does, in the fastest precision and with guided windows.
        options: What is read and written.
        progress: Called after each window; with several cases, after each case by another thread.

    Raises:
        InputError: There is nothing to segment, an organ is not one of the model's, or a format
            cannot be written.
        MissingExtraError: A package that writes a format is not installed.
        OutputError: The output folder cannot be written.
    """
    options = options or Options()
    check_mesh(options.mesh)
    if not isinstance(segmenter, Segmenter):
        segmenter = Segmenter(segmenter, precision="auto", windows="guided")
    organs = find_classes(options.organs, segmenter.model.classes, where="--organs")
    options = replace(options, organs=organs)
    found = find_cases(source, output, split=options.split, formats=options.formats)
    share, several = Share(output, segmenter.model, options, found), len(found) > 1
    cases = share.cases
    if several and options.series is None:  # nobody can name a series of each case
        options = replace(options, ask=False)
    reservation = segmenter.memory_reservation()
    outcomes = _Outcomes(cases, progress if several else silent)
    table = output / "statistics.csv" if several and options.statistics else None
    work = _Work(
        segmenter,
        options,
        reservation=reservation,
        progress=silent if several else progress,
        one_table=table is not None,
    )
    records = (work.record(case) for case in cases)
    # Calls that each segment one image may share a folder.
    with writing(output, part=share.name) if several else nullcontext():
        share.begin()
        try:
            # With one thread, the user keeps the other cores for something else.
            if several and segmenter.threads > 1 and segmenter.peak_is_predictable:
                run_pipelined(records, outcomes.add, reservation=reservation)
            else:
                run_serial(records, outcomes.add)
        finally:  # stopped, it has the rows of the cases that are done
            notices: tuple[str, ...] = ()
            if table is not None and options.part == WHOLE:
                notices = outcomes.write_statistics(table)
        wrote = table if options.part == WHOLE and table is not None and table.is_file() else None
        result = FilesResult(
            tuple(outcomes.rows), tuple(outcomes.skipped), tuple(outcomes.failures), wrote, notices
        )
        share.end(result, outcomes.statistics)
    return result


# A case's record without its labels, which take memory, and its rows of the statistics.
_Record = tuple[dict[str, Any], tuple[Row, ...]]


class _Outcomes:
    """Collects the outcome of each case, in the order of the cases."""

    def __init__(self, cases: Iterable[CaseFile], progress: Progress) -> None:
        self._cases, self._progress = tuple(cases), progress
        self._numbers = count()
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self.failures: list[Failure] = []
        self.statistics: list[Row] = []

    def add(self, outcome: Future[_Record | None]) -> None:
        """Add the outcome of the next case: its record, None where it was skipped, or an error."""
        number = next(self._numbers)
        case = self._cases[number]
        made = attempt(case, lambda _: outcome.result(), files=lambda case: (case.source,))
        if isinstance(made, Failure):
            self.failures.append(made)
        elif made is None:
            self.skipped.append(case.id)
        else:
            row, statistics = made
            self.rows.append(row)
            self.statistics.extend(statistics)
            others = f"; written: {', '.join(row['files'])}" if "failed" in row else ""
            self.failures.extend(
                Failure(case.id, f"{reason}{others}") for reason in row.get("failed", {}).values()
            )
        self._progress("cases", number + 1, len(self._cases))

    def write_statistics(self, path: Path) -> tuple[str, ...]:
        """Write the rows of all cases; those of a skipped case are kept from the file before.

        Returns:
            What is missing in it, one line each.
        """
        kept, damaged = self._kept(path)
        if self.statistics:
            write_statistics(path, [*kept, *self.statistics])
        missing = [id for id in self.skipped if id not in {row[0] for row in kept}]
        if not missing:
            return damaged
        named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        return (*damaged, f"{path}: without {named}, skipped because segmented before")

    def _kept(self, path: Path) -> tuple[list[Row], tuple[str, ...]]:
        """Return the rows of the skipped cases in the file before, and why there are none."""
        if not self.skipped or not path.is_file():
            return [], ()
        try:
            return [row for row in read_statistics(path) if row[0] in set(self.skipped)], ()
        except InputError as error:
            return [], (str(error),)


def segment_file(
    case: CaseFile,
    segmenter: Segmenter,
    *,
    options: Options | None = None,
    progress: Progress = silent,
) -> CaseResult:
    """Segment one image and write its outputs.

    Args:
        case: The image, and where its output goes.
        segmenter: The model.
        options: What is read and written.
        progress: Called after each window.

    Raises:
        InputError: The image cannot be used.
        GeometryError: The image's geometry cannot be used.
        OutputError: The output cannot be written.
    """
    work = _Work(
        segmenter,
        options or Options(),
        reservation=segmenter.memory_reservation(),
        progress=progress,
    )
    return run_stages(work.stages(case))


class _Work:
    """Segments cases and writes their outputs, all in the same way."""

    def __init__(
        self,
        segmenter: Segmenter,
        options: Options,
        *,
        reservation: MemoryReservation,
        progress: Progress,
        one_table: bool = False,
    ) -> None:
        self._segmenter, self._options = segmenter, options
        self._reservation, self._progress = reservation, progress
        self._one_table = one_table

    def record(self, case: CaseFile) -> Stages[_Record | None]:
        """Segment a case and return its record; None if it is skipped."""
        if self._options.skip_existing and all(path.is_file() for path in self._files(case)):
            return None
        result = yield from self.stages(case)
        return result.record(), result.statistics

    def stages(self, case: CaseFile) -> Stages[CaseResult]:
        """Segment a case and write its outputs."""
        options = replace(self._options, formats=self._formats(case))
        try:
            with unpacked(case.source) as source:
                scan = yield from scan_stages(
                    source,
                    self._segmenter,
                    reservation=self._reservation,
                    name=case.id,
                    options=options,
                    progress=self._progress,
                )
                began = time.perf_counter()
                outputs = {} if options.split else output_paths(case.output, options.formats)
                written = self._write(case, scan, outputs)
                write = time.perf_counter() - began
            result = scan.segmentation
            total = result.seconds["total"] + write
            parts = {name: value for name, value in result.seconds.items() if name != "total"}
            result = replace(result, seconds={**parts, "write": write, "total": total})
            return CaseResult(case, result, peak_rss_mb(), outputs, **written)
        finally:
            self._reservation.release(case.id)

    def _write(
        self, case: CaseFile, scan: SegmentedScan, outputs: Mapping[str, Path]
    ) -> dict[str, Any]:
        """Write every file that was asked for; returns what a :class:`CaseResult` says of them."""
        segmenter, image, result = self._segmenter, scan.image, scan.segmentation
        failed: dict[str, str] = {}
        files: list[Path] = []
        if self._options.split:
            sources = scan.sources
            like = sources.source if sources.series is None else None
            for name, path in zip(self._organs(), self._files(case), strict=True):
                mask = (result.labels.array == segmenter.taxonomy[name].id).astype(np.uint8)
                write_labels(path, Volume(mask, image.grid), like=like)
                files.append(path)
        else:
            failed = write_formats(
                outputs,
                result.labels,
                model=segmenter.model,
                sources=scan.described(segmenter.taxonomy, outputs),
            )
            files += [path for name, path in outputs.items() if name not in failed]
        files += self._write_maps(case, scan)
        if self._options.mesh is not None:
            try:
                files += self._write_mesh(case, result.labels, kind=self._options.mesh)
            except InputError as error:  # no class was found
                failed[self._options.mesh] = str(error)
        if self._options.preview:
            from nnstudent.inference.files.preview import write_preview  # pillow is slow to import

            path = self._beside(case, "preview", ".png")
            write_preview(
                path,
                image,
                result.labels,
                segmenter.taxonomy,
                title=case.id,
                organs=result.organs,
                warnings=result.warnings,
            )
            files.append(path)
        rows: list[Row] = []
        if self._options.statistics:
            rows = statistics_rows(case.id, image=image, result=result, taxonomy=segmenter.taxonomy)
            if not self._one_table:
                path = self._beside(case, "statistics", ".csv")
                write_statistics(path, rows)
                files.append(path)
        return {"failed": failed, "files": tuple(files), "statistics": tuple(rows)}

    def _write_maps(self, case: CaseFile, scan: SegmentedScan) -> list[Path]:
        """Write probabilities and uncertainty, if they were asked for; returns the files."""
        maps = scan.segmentation.probabilities
        if maps is None:
            return []
        like = scan.sources.source if scan.sources.series is None else None
        split, name = self._options.split, without_ending(case.output.name)
        files: list[Path] = []
        try:
            if self._options.probabilities:
                folder = case.output.parent / "probabilities" / name
                folder = case.output / "probabilities" if split else folder
                files += write_probabilities(folder, maps, self._organs(), like=like)
            if self._options.uncertainty:
                root = case.output if split else case.output.parent
                files.append(root / "uncertainty" / f"{name}.nii.gz")
                write_uncertainty(files[-1], maps, like=like)
        finally:
            maps.close()
        return files

    def _write_mesh(self, case: CaseFile, labels: Volume, *, kind: str) -> list[Path]:
        """Write the surfaces; returns the files."""
        if self._options.split:
            path = case.output / ("mesh.glb" if kind == "glb" else "meshes")
        else:
            path = mesh_path(case.output.parent, without_ending(case.output.name), kind)
        return write_mesh(path, labels, taxonomy=self._segmenter.taxonomy, kind=kind)

    def _organs(self) -> tuple[str, ...]:
        """The classes that are written."""
        if self._options.organs:
            return self._segmenter.taxonomy.sorted(self._options.organs)
        return self._segmenter.model.classes

    def _files(self, case: CaseFile) -> list[Path]:
        """The label files of a case."""
        if self._options.split:
            return [case.output / f"{name}.nii.gz" for name in self._organs()]
        return list(output_paths(case.output, self._formats(case)).values())

    def _formats(self, case: CaseFile) -> tuple[str, ...]:
        return self._options.formats or case.formats

    def _beside(self, case: CaseFile, name: str, ending: str) -> Path:
        """A file beside a case's labels: ``name`` in its folder, or the name of its output."""
        if self._options.split:
            return case.output / f"{name}{ending}"
        return case.output.with_name(f"{without_ending(case.output.name)}{ending}")
