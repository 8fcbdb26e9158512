"""An evaluation in parts, by several machines: the scores of each on disk, and all together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.lesions import Detection, Lesion
from nnstudent.evaluation.protocols import ClassScore
from nnstudent.evaluation.scores import CaseScores
from nnstudent.io.parts import WHOLE, Part, begin_part, end_part, read_parts
from nnstudent.serialization import Record


@dataclass(frozen=True)
class Share:
    """The part of a shared evaluation that one call does.

    Attributes:
        folder: The folder that the parts share.
        part: The part to score.
        merge: Instead of scoring, put together so many parts; None to score.
        again: The command that scores a part, without ``--part``, for errors.
    """

    folder: Path
    part: Part = WHOLE
    merge: int | None = None
    again: str = "nnstudent evaluate …"

    def begin(self) -> None:
        """Forget that this part has ended before."""
        begin_part(self.folder, self.part)

    def end(
        self, cases: Sequence[CaseScores], failures: Sequence[Failure], *, settings: Any
    ) -> None:
        """Record that this part has ended, with its scores.

        Raises:
            OutputError: The folder cannot be written.
        """
        data = {
            "cases": [_to_plain(case) for case in cases],
            "failures": [{"id": item.case, "reason": item.reason} for item in failures],
        }
        end_part(self.folder, self.part, settings=settings, data=data)

    def merged(self, *, settings: Any) -> tuple[list[CaseScores], list[Failure]]:
        """Read the scores and the failures of all parts, in the order of the parts.

        Raises:
            InputError: A part has not ended, was run with other settings, or is damaged.
        """
        records = read_parts(self.folder, self.merge or 1, settings=settings, again=self.again)
        cases = [_from_plain(row) for record in records for row in record.rows("cases")]
        failures = [
            Failure(row.get("id", str), row.get("reason", str))
            for record in records
            for row in record.rows("failures")
        ]
        return cases, failures


def check_share(share: Share) -> None:
    """Refuse a share that says both to score a part and to merge.

    Raises:
        InputError: It does.
    """
    if share.merge is not None and share.part != WHOLE:
        raise InputError(f"--part {share.part} with --merge {share.merge}; expected one of the two")


def _to_plain(case: CaseScores) -> dict[str, Any]:
    return {
        "id": case.id,
        "prediction": None if case.prediction is None else str(case.prediction),
        "truth": str(case.truth),
        "scores": {
            name: [_number(score.dsc), _number(score.nsd)] for name, score in case.scores.items()
        },
        "left_out": dict(case.left_out),
        "warnings": list(case.warnings),
        "lesions": {
            name: {
                "lesions": [[lesion.volume_ml, lesion.iou] for lesion in found.lesions],
                "false_ml": list(found.false_ml),
                "below_minimum": found.below_minimum,
            }
            for name, found in case.lesions.items()
        },
        "present": sorted(case.present),
    }


def _from_plain(row: Record) -> CaseScores:
    prediction = row.get("prediction", str | None)
    return CaseScores(
        row.get("id", str),
        None if prediction is None else Path(prediction),
        Path(row.get("truth", str)),
        {
            name: ClassScore(*(math.nan if value is None else value for value in pair))
            for name, pair in row.get(
                "scores", dict[str, tuple[float | None, float | None]]
            ).items()
        },
        row.get("left_out", dict[str, str]),
        row.get("warnings", tuple[str, ...]),
        {
            name: _detection(Record(found, f"{row.where}: {name}"))
            for name, found in row.get("lesions", dict[str, dict[str, Any]]).items()
        },
        frozenset(row.get("present", tuple[str, ...])),
    )


def _detection(row: Record) -> Detection:
    return Detection(
        tuple(Lesion(*pair) for pair in row.get("lesions", tuple[tuple[float, float], ...])),
        row.get("false_ml", tuple[float, ...]),
        row.get("below_minimum", int),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
