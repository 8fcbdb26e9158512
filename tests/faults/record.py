"""What was tried and what became of it, kept between calls, so that a campaign can be
lengthened."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.outcome import FAULTS

Row = dict[str, Any]


class Record:
    """JSON lines, one a case; of a case that was tried again the last counts."""

    def __init__(self, path: Path, *, seed: int) -> None:
        self._path, self._seed = path, seed
        lines = path.read_text().splitlines() if path.is_file() else []
        self._rows: dict[tuple[str, int], Row] = {}
        for row in map(json.loads, lines):
            if row["outcome"] == "forgotten":
                self._drop(row["kind"])
            elif row["seed"] == seed:
                self._rows[row["kind"], row["number"]] = row
        self._commit = commit()

    def known(self) -> set[tuple[str, int]]:
        """Kind and number of the cases that were no fault."""
        return {key for key, row in self._rows.items() if row["outcome"] not in FAULTS}

    def latest(self) -> list[Row]:
        """Of each case, what became of it the last time."""
        return list(self._rows.values())

    def note(
        self, kind: str, number: int, outcome: str, detail: str, *, process: bool = False
    ) -> None:
        """Add what became of a case; a fault is also printed."""
        row = {"seed": self._seed, "kind": kind, "number": number, "outcome": outcome}
        row |= {"process": process, "detail": detail[:500], "commit": self._commit}
        row["date"] = datetime.now(UTC).date().isoformat()
        self._rows[kind, number] = row
        self._write(row)
        if outcome in FAULTS:
            print(f"FAULT {outcome}: {kind} {number}: {detail}", flush=True)

    def forget(self, start: str) -> None:
        """Drop the rows whose kind starts so: they are tried anew as a whole."""
        self._drop(start)
        self._write({"seed": self._seed, "kind": start, "number": 0, "outcome": "forgotten"})

    def _drop(self, start: str) -> None:
        for key in [key for key in self._rows if key[0].startswith(start)]:
            del self._rows[key]

    def _write(self, row: Row) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def commit() -> str:
    """The commit that is tried, with a + where files have changed since; empty outside of a
    checkout."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    root = Path(__file__).resolve().parents[2]
    try:
        return subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
