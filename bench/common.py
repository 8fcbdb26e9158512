"""What several benchmarks share: a time limit, cohorts of phantoms, rows in a JSON file, mean scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.data_files import read_json
from nnstudent.evaluation.scores import Scores
from nnstudent.io.atomic import write_text
from nnstudent.phantom import LabelProfile, make_cohort
from nnstudent.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
Row = Mapping[str, Any]


class OutOfTime(Exception):
    """Time is up; what is done is kept."""


def within(minutes: float | None, tell: Progress) -> Progress:
    """A listener that ends the work when its time is up."""
    end = None if minutes is None else time.monotonic() + 60 * minutes

    def listen(what: str, done: int, total: int) -> None:
        tell(what, done, total)
        if end is not None and time.monotonic() > end:
            raise OutOfTime

    return listen


def phantom_cohort(
    folder: Path, counts: Mapping[LabelProfile, int], *, preset: str, progress: Progress
) -> Cohort:
    """So many synthetic patients of each kind, made if they are not there."""
    if not (folder / "cohort.json").is_file():
        make_cohort(
            folder,
            cases=sum(counts.values()),
            seed=0,
            preset=preset,
            counts=counts,
            progress=progress,
        )
    return read_cohort(folder)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in the order in which they were added; none where there is no file."""
    return list(read_json(path, what="rows")) if path.is_file() else []


def add_row(path: Path, row: Row) -> None:
    """Add a row; a line each, so that each is a line of the repository's history."""
    lines = [json.dumps(item, ensure_ascii=False) for item in (*read_rows(path), row)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def organ_means(scores: Scores) -> dict[str, float | None]:
    """Over cases: of the organs; of the tumor where there is one; and in what share of the others one was found."""
    mean, table = scores.means()["organs"], scores_by_case(scores).values()
    told = {f"organ_{metric}": rounded(getattr(mean, metric)) for metric in ("dsc", "nsd")}
    for key in ("tumor_dsc", "tumor_nsd", "tumor_false"):
        known = [row[key] for row in table if row[key] is not None]
        told[key] = rounded(float(np.mean(known))) if known else None
    return told


def scores_by_case(scores: Scores) -> dict[str, dict[str, float | None]]:
    """Of each test case, the mean over its organs, and the tumor; where there is none, whether one was found."""
    table = {}
    for case in scores.cases:
        row: dict[str, float | None] = {}
        for singular, names in (
            ("organ", scores.taxonomy.organs),
            ("tumor", scores.taxonomy.lesions),
        ):
            there = [case.scores[name] for name in names if name in case.scores]
            for metric in ("dsc", "nsd"):
                row[f"{singular}_{metric}"] = (
                    rounded(float(np.mean([getattr(score, metric) for score in there])))
                    if there
                    else None
                )
        table[case.id] = tumor_or_none(row, any(found.lesions for found in case.lesions.values()))
    return table


def tumor_or_none(row: Mapping[str, float | None], tumor: bool) -> dict[str, float | None]:
    """A case's row: an empty answer to no tumor has a DSC of 1, which says nothing of tumors that are there."""
    if tumor or row["tumor_dsc"] is None:
        return {**row, "tumor_false": None}
    return {**row, "tumor_dsc": None, "tumor_nsd": None, "tumor_false": float(row["tumor_dsc"] < 1)}


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def commit() -> str:
    """The commit, with a + where the code has changed since; empty outside of a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    head = git("rev-parse", "--short", "HEAD")
    return f"{head}+" if head and git("status", "--porcelain", "src", "bench") else head


def in_own_process(module: str) -> tuple[list[str], dict[str, str]]:
    """The command that runs a module of this package as a process, and the environment in which it is found."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return [sys.executable, "-m", module], {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
