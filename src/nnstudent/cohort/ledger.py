"""The ledger: where the labels of each class in each case come from. JSON lines, one row each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnstudent.data_files import read_json_lines
from nnstudent.io.atomic import write_lines
from nnstudent.serialization import from_plain

Origin = Literal["truth", "pseudo", "dropped"]
LEDGER_NAME = "ledger.jsonl"


@dataclass(frozen=True)
class LedgerRow:
    """Where the labels of one class in one case come from.

    Attributes:
        case: The case's id.
        cls: The class's name; ``class`` in the file.
        origin: ``truth``, ``pseudo``, or ``dropped`` if the student does not learn from the labels.
        model: Hash of the model that made the pseudo-label, or None.
        round: The round in which the pseudo-label was made; 0 for truth.
        score: Agreement of the model's folds on this class, 0 to 1, or None if there is none.
        why: The reason, in one line.
        change: How much the pseudo-label of this class changed since the previous round, 0 to 1;
            None in the first round.
        by: Who confirmed the class, if a person corrected the scan.
        at: When, in ISO 8601.
    """

    case: str
    cls: str
    origin: Origin
    model: str | None = None
    round: int = 0
    score: float | None = None
    why: str = ""
    change: float | None = None
    by: str | None = None
    at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, in the order of the columns; who and when only if known."""
        row: dict[str, Any] = {
            "case": self.case,
            "class": self.cls,
            "origin": self.origin,
            "model": self.model,
            "round": self.round,
            "score": self.score,
            "why": self.why,
            "change": self.change,
        }
        known = {"by": self.by, "at": self.at}
        return row | {key: value for key, value in known.items() if value is not None}


def write_ledger(path: Path, rows: Iterable[LedgerRow]) -> None:
    """Write the rows atomically, one at a time: a large cohort has millions."""
    write_lines(path, (json.dumps(row.to_dict(), ensure_ascii=False) for row in rows))


def read_ledger(path: Path) -> tuple[LedgerRow, ...]:
    """Read all rows; see :func:`iterate_ledger`."""
    return tuple(iterate_ledger(path))


def iterate_ledger(path: Path) -> Iterator[LedgerRow]:
    """Read one row after another.

    Raises:
        InputError: The file is missing, or a line is not a row; the message names the line.
    """
    for where, values in read_json_lines(path, what="a ledger, which select writes"):
        values = {("cls" if key == "class" else key): value for key, value in values.items()}
        row: LedgerRow = from_plain(LedgerRow, values, where=where)
        yield row


def pseudo_classes(rows: Iterable[LedgerRow]) -> dict[str, tuple[str, ...]]:
    """The classes of each case whose labels are pseudo-labels."""
    classes: dict[str, list[str]] = {}
    for row in rows:
        if row.origin == "pseudo":
            classes.setdefault(row.case, []).append(row.cls)
    return {case: tuple(names) for case, names in classes.items()}
