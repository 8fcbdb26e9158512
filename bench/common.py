"""What benchmarks share: a time limit, phantom cohorts, rows in a JSON file, mean scores."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.export import export
from nnstudent.bundle.quantise import Sampling
from nnstudent.cli.common import Display
from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.data_files import read_json
from nnstudent.errors import InputError, NnStudentError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.scores import Scores
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import replacing, write_text
from nnstudent.io.lock import writing
from nnstudent.io.record import data_hash, file_hash, is_made_from, write_record
from nnstudent.machine import cores
from nnstudent.phantom import LabelProfile, make_cohort
from nnstudent.pipeline.predict import predict
from nnstudent.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
Row = Mapping[str, Any]


class OutOfTime(Exception):
    """Time is up; what is done is kept."""


def within(minutes: float | None, progress: Progress) -> Progress:
    """A progress callback that ends the work when its time is up."""
    end = None if minutes is None else time.monotonic() + 60 * minutes

    def listen(what: str, done: int, total: int, *, note: str = "") -> None:
        progress(what, done, total, note=note)
        if end is not None and time.monotonic() > end:
            raise OutOfTime

    return listen


def phantom_cohort(
    folder: Path,
    counts: Mapping[LabelProfile, int],
    *,
    preset: str,
    progress: Progress,
    seed: int = 0,
) -> Cohort:
    """A cohort of synthetic patients, made if it is not there.

    Args:
        folder: The cohort's folder.
        counts: Number of cases of each kind.
        preset: Preset of the phantoms.
        progress: Called after each case.
        seed: Seed of the patients; those of another seed are other patients.
    """
    if not (folder / "cohort.json").is_file():
        make_cohort(
            folder,
            cases=sum(counts.values()),
            seed=seed,
            preset=preset,
            counts=counts,
            progress=progress,
        )
    return read_cohort(folder)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in the order in which they were added; empty if there is no file.

    Scores by case lie in a compressed file beside it (:func:`cases_file`), which rows name by hash.

    Raises:
        InputError: A file is unreadable, or lacks the scores that a row names.
    """
    rows = _stored_rows(path)
    tables = _stored_tables(path) if any(isinstance(row.get("cases"), str) for row in rows) else {}
    for row in rows:
        name = row.get("cases")
        if isinstance(name, str):
            if name not in tables or data_hash(tables[name]) != name:
                raise InputError(
                    f"{cases_file(path)}: lacks the scores {name} of a row of {path.name}; "
                    "both files must come from the same commit"
                )
            row["cases"] = tables[name]
    return rows


def add_row(path: Path, row: Row) -> None:
    """Add a row on a line of its own, so that it is a line of the repository's history.

    A killed call leaves at most scores that no row names, and calls at the same time wait for each
    other.
    """
    with writing(path.parent, part=path.stem, wait=True):
        _add_row(path, row)


def _add_row(path: Path, row: Row) -> None:
    rows: list[Row] = list(_stored_rows(path))
    if isinstance(row.get("cases"), Mapping):
        tables = _stored_tables(path)
        name = data_hash(row["cases"])
        tables[name] = dict(row["cases"])
        text = "".join(
            json.dumps({"hash": key, "cases": table}, ensure_ascii=False) + "\n"
            for key, table in tables.items()
        )
        with replacing(cases_file(path)) as temporary:
            # Without a time in it, the same scores are the same bytes.
            temporary.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
        row = {**row, "cases": name}
    lines = [json.dumps(item, ensure_ascii=False) for item in (*rows, row)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def cases_file(rows: Path) -> Path:
    """The file of the scores by case that belongs to a file of rows."""
    return rows.with_name(f"{rows.stem}-cases.jsonl.gz")


def _stored_rows(path: Path) -> list[dict[str, Any]]:
    return list(read_json(path, what="rows")) if path.is_file() else []


def _stored_tables(rows: Path) -> dict[str, dict[str, Any]]:
    path = cases_file(rows)
    if not path.is_file():
        return {}
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
        return {item["hash"]: item["cases"] for item in map(json.loads, lines)}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise InputError(f"{path}: is no file of scores by case ({error})") from error


def add_row_options(parser: argparse.ArgumentParser, *, rows: Path, work: Path) -> None:
    """Add the options of benchmarks that write rows and can be resumed."""
    parser.add_argument(
        "--json",
        type=Path,
        default=rows,
        metavar="FILE",
        help=f"the rows (default: {rows.relative_to(ROOT)})",
    )
    parser.add_argument(
        "--work", type=Path, default=work, help="folder of all that is made on the way"
    )
    parser.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help="stop after this time; the next call resumes",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: whatever is fastest)")


def resumable(
    name: str, work: Path, make_rows: Callable[[Progress], None], *, minutes: float | None
) -> int:
    """Run a benchmark that the next call resumes, and print its error, if there is one.

    Args:
        name: The benchmark's name, for errors.
        work: Its folder, which only one call at a time may use.
        make_rows: Does the work; takes a progress callback.
        minutes: Stop after this time; None for no limit.

    Returns:
        The exit code.
    """
    display = Display(every_seconds=60)
    try:
        work.mkdir(parents=True, exist_ok=True)
        with writing(work):
            make_rows(within(minutes, display))
    except OutOfTime:
        print("time is up; the same call resumes from here")
    except NnStudentError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        display.close()
    return 0


def export_once(
    models: Sequence[Path],
    bundle: Path,
    *,
    record: Path,
    second: Path | None = None,
    int8: Sampling | None = None,
    progress: Progress,
) -> Path:
    """Export models to a bundle, unless that is done.

    Args:
        models: nnU-Net model folders; the later ones are laid over the first.
        bundle: The bundle's folder.
        record: File that records what it was made from.
        second: The second stage of a cascade.
        int8: Windows for int8, see :func:`nnstudent.bundle.export.export`.
        progress: Called after each network.
    """
    folders = [*models, *([second] if second else [])]
    made_from = [file_hash(model / "fold_0" / "checkpoint_final.pth") for model in folders]
    if not is_made_from(record, made_from):
        export(
            models[0],
            bundle,
            overlay=models[1:],
            second=second,
            torch_weights=False,
            int8=int8,
            progress=progress,
        )
        write_record(record, stage="export", made_from=made_from)
    return bundle


def score_test_cases(
    cohort: Cohort, segmenter: Segmenter, out: Path, *, name: str, progress: Progress
) -> tuple[Scores, list[dict[str, float]]]:
    """Segment the test cases of a cohort and score them.

    Args:
        cohort: The cohort.
        segmenter: The model.
        out: Folder of the predictions; cases that are there are not segmented again.
        name: The model's name, for errors.
        progress: Called after each case.

    Returns:
        The scores, and the seconds of each case by part of the work.

    Raises:
        InputError: A case failed.
    """
    test = cohort.test()
    failures = predict(test, segmenter, out=out, progress=progress)
    scores = evaluate(out, cohort, subset="test", progress=progress)
    if failures or scores.failures:
        raise InputError(
            f"{name}: {[*failures, *scores.failures][0]}; "
            "every test case must be scored, call again"
        )
    return scores, [
        json.loads((out / f"{case.id}.json").read_text("utf-8"))["seconds"] for case in test
    ]


def machine() -> str:
    """This machine in a few words."""
    return f"{cores()} cores, {platform.machine()}"


def organ_means(scores: Scores) -> dict[str, float | None]:
    """Mean scores over cases: of the organs, and of the tumor where there is one.

    ``tumor_false`` is the share of the other cases in which a tumor was predicted.
    """
    mean, table = scores.means()["organs"], scores_by_case(scores).values()
    means = {f"organ_{metric}": rounded(getattr(mean, metric)) for metric in ("dsc", "nsd")}
    for key in ("tumor_dsc", "tumor_nsd", "tumor_false"):
        known = [value for row in table if (value := row[key]) is not None]
        means[key] = rounded(float(np.mean(known))) if known else None
    return means


def scores_by_case(scores: Scores) -> dict[str, dict[str, float | None]]:
    """For each test case, the mean over its organs, and the scores of :func:`tumor_or_none`."""
    table = {}
    for case in scores.cases:
        row: dict[str, float | None] = {}
        for singular, names in (
            ("organ", scores.taxonomy.organs),
            ("tumor", scores.taxonomy.lesions),
        ):
            known = [case.scores[name] for name in names if name in case.scores]
            for metric in ("dsc", "nsd"):
                row[f"{singular}_{metric}"] = (
                    rounded(float(np.mean([getattr(score, metric) for score in known])))
                    if known
                    else None
                )
        table[case.id] = tumor_or_none(row, any(counts.lesions for counts in case.lesions.values()))
    return table


def tumor_or_none(row: Mapping[str, float | None], tumor: bool) -> dict[str, float | None]:
    """A case's row; without a tumor it has no tumor scores, only whether one was predicted.

    An empty prediction has a DSC of 1 there, which says nothing about finding tumors.
    """
    if tumor or row["tumor_dsc"] is None:
        return {**row, "tumor_false": None}
    return {**row, "tumor_dsc": None, "tumor_nsd": None, "tumor_false": float(row["tumor_dsc"] < 1)}


def rounded(value: float) -> float | None:
    """A value with 5 decimals; None for NaN."""
    return None if np.isnan(value) else round(value, 5)


def commit() -> str:
    """The commit, with a + if the code has changed since; empty outside of a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    head = git("rev-parse", "--short", "HEAD")
    return f"{head}+" if head and git("status", "--porcelain", "src", "bench") else head


def in_own_process(module: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that run a module of this package as a process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return [sys.executable, "-m", module], {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
