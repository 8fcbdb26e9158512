"""A folder of images segmented in parts by several machines, and its parts put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import Model
from nnstudent.errors import Failure, InputError
from nnstudent.inference.files.find import CaseFile, find_cases
from nnstudent.inference.files.options import Options
from nnstudent.inference.labels.volumetry import Row, write_statistics
from nnstudent.io.parts import WHOLE, begin_part, end_part, forget_parts, read_parts
from nnstudent.serialization import Record
from nnstudent.taxonomy import find_classes


@dataclass(frozen=True)
class FilesResult:
    """The outcome of all cases.

    Attributes:
        rows: The record of each case that was done, see
            :meth:`~nnstudent.inference.files.segment.CaseResult.record`.
        skipped: Ids of the cases whose output existed.
        failures: Cases that failed while the others were done, and formats of a case that failed
            while its others were written.
        statistics: The file with the statistics of several cases, if it was asked for.
        notices: What a reader of the results should know, one line each.
    """

    rows: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    statistics: Path | None = None
    notices: tuple[str, ...] = ()


class Share:
    """The part of a folder's cases that one call segments."""

    def __init__(
        self, output: Path, model: Model, options: Options, found: Sequence[CaseFile]
    ) -> None:
        """Take this part of the cases.

        Args:
            output: The folder that the parts write into.
            model: The model.
            options: What is read and written, and which part.
            found: The cases of all parts.

        Raises:
            InputError: There is only one case.
        """
        if len(found) < 2 and options.part != WHOLE:
            raise InputError(
                f"--part {options.part}: the input is a single image; expected a folder of images"
            )
        self._output, self._part = output, options.part
        self._several = len(found) > 1
        self._settings = _settings(model, options, found)
        self.cases = options.part.of(found)

    @property
    def name(self) -> str:
        """See :func:`nnstudent.io.lock.writing`."""
        return self._part.share

    def begin(self) -> None:
        """Forget that this part has ended before."""
        if self._several:
            begin_part(self._output, self._part)

    def end(self, result: FilesResult, statistics: Sequence[Row]) -> None:
        """Record that this part has ended, with what merging needs.

        Args:
            result: The outcome of its cases.
            statistics: The rows for ``statistics.csv``.
        """
        if self._part == WHOLE:
            if self._several:
                forget_parts(self._output)
            return
        data = {
            "rows": list(result.rows),
            "skipped": list(result.skipped),
            "failures": [{"id": item.case, "reason": item.reason} for item in result.failures],
            "statistics": [list(row) for row in statistics],
        }
        end_part(self._output, self._part, settings=self._settings, data=data)


def merge_segmented(
    source: Path, output: Path, count: int, *, model: Model, options: Options
) -> FilesResult:
    """Put together what calls with ``--part`` made of a folder of images; segments nothing.

    With ``options.statistics``, ``statistics.csv`` is written.

    Args:
        source: The input of the parts.
        output: Their output.
        count: Number of parts.
        model: Their model.
        options: Their options.

    Returns:
        The outcome of all cases, as one call would return it.

    Raises:
        InputError: A part has not ended, or was run with another model, other options, or on
            other cases.
        OutputError: ``statistics.csv`` cannot be written.
    """
    organs = find_classes(options.organs, model.classes, where="--organs")
    options = replace(options, organs=organs)
    found = find_cases(source, output, split=options.split, formats=options.formats)
    records = read_parts(
        output,
        count,
        settings=_settings(model, options, found),
        again=f"nnstudent segment {source} -o {output} …",
    )
    order = {case.id: place for place, case in enumerate(found)}
    rows = [row.data for record in records for row in record.rows("rows")]
    failures = [
        Failure(row.get("id", str), row.get("reason", str))
        for record in records
        for row in record.rows("failures")
    ]
    skipped = [id for record in records for id in record.get("skipped", list)]
    table, notices = _merged_statistics(records, output, order, skipped, options=options)
    return FilesResult(
        tuple(dict(row) for row in sorted(rows, key=lambda row: order[row["id"]])),
        tuple(sorted(skipped, key=order.__getitem__)),
        tuple(sorted(failures, key=lambda item: order[item.case])),
        table,
        notices,
    )


def _merged_statistics(
    records: Sequence[Record],
    output: Path,
    order: Mapping[str, int],
    skipped: Sequence[str],
    *,
    options: Options,
) -> tuple[Path | None, tuple[str, ...]]:
    """Write the statistics of all parts; returns the file and what is missing in it."""
    rows = [tuple(row) for record in records for row in record.get("statistics", list)]
    if not (options.statistics and rows):
        return None, ()
    table = output / "statistics.csv"
    write_statistics(table, sorted(rows, key=lambda row: order[row[0]]))
    if not skipped:
        return table, ()
    named = ", ".join(sorted(skipped)[:5]) + (" …" if len(skipped) > 5 else "")
    return table, (f"{table}: without {named}, skipped because segmented before",)


def _settings(model: Model, options: Options, found: Sequence[CaseFile]) -> Any:
    return [
        model.hash,
        list(options.organs),
        [options.split, options.statistics, list(options.formats)],
        [case.id for case in found],
    ]
