"""What the stages themselves cost with many cases: seconds and memory that no scan accounts for.

  python -m bench.scale
  python -m bench.scale --cases 1000,10000,150000 --json runs/bench-scale.json
  python -m bench.scale --cases 150000 --records

Cohorts are made of tiny files, laid out as FLARE23 is, so that what is left is the stages' own
work: finding files, checking them, planning, records, the ledger, the report. One file in a hundred
is broken. Teachers answer at once, and nothing is trained. Each stage is a process of its own, and
each row is written as it comes. Files are read from the memory of the system, not from a disk.
With --records there are no scans at all: the records of pseudo-labels are merged. Compare
seconds of the processor, which are the same beside other work.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import ROOT, add_row
from bench.scale_cohort import NullTeacher, make_records, make_run, make_source
from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.index import index
from nnstudent.inference.memory import peak_rss_mb

PARTS = 64  # jobs that label shares its cases among


@dataclass(frozen=True)
class World:
    """Where a cohort of a size and all that is made of it lie."""

    folder: Path
    cases: int

    @property
    def source(self) -> Path:
        return self.folder / "FLARE23"

    @property
    def cohort(self) -> Path:
        return self.folder / "run" / "cohort"

    @property
    def pseudo(self) -> Path:
        return self.folder / "run" / "pseudo"

    @property
    def fused(self) -> Path:
        return self.folder / "run" / "fused"

    @property
    def run(self) -> Path:
        return self.folder / "run"


Result = Mapping[str, Any]


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """The seconds that a block takes, and those of the processor: others may be at work."""
    took: dict[str, float] = {}
    began, busy = time.perf_counter(), time.process_time()
    yield took
    took["seconds"] = time.perf_counter() - began
    took["cpu_seconds"] = time.process_time() - busy


def index_source(world: World) -> Result:
    """All files are checked; a second call finds them unchanged."""
    found = index(world.source, world.cohort)
    return {"usable": len(found.cohort), "broken": len(found.cohort.broken)}


def plan_parts(world: World) -> Result:
    """A job reads the cohort, and finds the cases of its part."""
    from nnstudent.io.parts import parts

    cohort = read_cohort(world.cohort)
    lacking = cohort.not_fully_annotated(cohort.taxonomy.names)
    shares = [part.of(lacking) for part in parts(PARTS)]
    return {"to_label": sum(map(len, shares)), "parts": PARTS}


def label(world: World) -> Result:
    """Every case that lacks a class gets a pseudo-label; a second call finds them up to date."""
    from nnstudent.pseudo.label import label_cases

    cohort = read_cohort(world.cohort)
    made = label_cases(
        cohort.not_fully_annotated(cohort.taxonomy.names),
        world.pseudo,
        teachers=[NullTeacher(cohort.taxonomy)],
        taxonomy=cohort.taxonomy,
    )
    return {"labeled": len(made.labels), "made": len(made.made)}


def select(world: World) -> Result:
    """Records are merged, labels fused, and the ledger written; or found up to date."""
    from nnstudent.pseudo.select import select as select_cases

    chosen = select_cases(read_cohort(world.cohort), world.pseudo, world.fused)
    ledger = world.fused / "ledger.jsonl"
    return {
        "kept": len(chosen.kept),
        "written": chosen.written,
        "ledger_mb": round(ledger.stat().st_size / 1e6, 1),
    }


def merge_records(world: World) -> Result:
    """As select, without label maps: records merged, ledger, cohort and dataset.json written."""
    from nnstudent.cohort.ledger import write_ledger
    from nnstudent.pseudo.fused import FusedSet
    from nnstudent.pseudo.select import judge
    from nnstudent.pseudo.selection import SelectSettings

    cohort, settings = read_cohort(world.cohort), SelectSettings()
    judged = judge(cohort, world.pseudo, settings=settings)
    ledger = world.fused / "ledger.jsonl"
    write_ledger(ledger, (row for decision in judged.decisions for row in decision.rows))
    fused = FusedSet(world.fused, world.pseudo, cohort.taxonomy, judged.classes, settings)
    fused.write_dataset(cohort, judged.decisions, ignored={})
    kept = sum(decision.kept for decision in judged.decisions)
    return {"kept": kept, "ledger_mb": round(ledger.stat().st_size / 1e6, 1)}


def plan_study(world: World) -> Result:
    """The student's training reads the ledger, hashes every case and draws its folds."""
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.training.provenance import task_source
    from nnstudent.training.study import study_task
    from nnstudent.training.task import make_splits

    task = study_task(world.fused, load_preset("paper").student)
    task_source(task, world.folder / "hashes.json")
    splits = make_splits(task, [case.id for case in task.cases])
    return {"learned": len(task.cases), "folds": len(splits)}


def report(world: World) -> Result:
    """The page of a run with that many cases, of which some were tested."""
    from nnstudent.report import write_report

    scored = make_run(world.run, read_cohort(world.cohort))
    with timed() as took:
        page = write_report(world.run)
    return {"scored": scored, "page_mb": round(page.stat().st_size / 1e6, 2), "took": took}


# In order, because each stage needs what the ones before have made.
STAGES: dict[str, Callable[[World], Result]] = {
    "index": index_source,
    "index again": index_source,
    "plan parts": plan_parts,
    "label": label,
    "label again": label,
    "select": select,
    "select again": select,
    "plan study": plan_study,
    "plan study again": plan_study,
    "report": report,
}
# With --records: what needs no image.
RECORD_STAGES: dict[str, Callable[[World], Result]] = {
    "plan parts": plan_parts,
    "merge records": merge_records,
    "plan study": plan_study,
    "report": report,
}


def main() -> int:
    """Measure every stage at every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="1000,10000", help="sizes of the cohort, N,M")
    parser.add_argument("--stages", help="A,B (default: all)")
    parser.add_argument(
        "--records", action="store_true", help="cohorts of records alone, without files of scans"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "bench-scale.json")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench" / "scale")
    parser.add_argument("--note", default="", help="a word for the rows, such as before")
    parser.add_argument("--keep", action="store_true", help="keep the cohorts")
    parser.add_argument("--one", metavar="STAGE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = [int(text) for text in args.cases.split(",")]
    if args.one is not None:
        print(json.dumps(measure(World(args.work / str(sizes[0]), sizes[0]), args.one)))
        return 0
    known = RECORD_STAGES if args.records else STAGES
    for cases in sizes:
        world = World(args.work / str(cases), cases)
        if args.records:
            make_records(world.cohort, world.pseudo, cases)
        else:
            make_source(world.source, cases)
        for stage in args.stages.split(",") if args.stages else known:
            row = {"note": args.note} if args.note else {}
            row |= in_process(args.work, cases, stage)
            add_row(args.json, row)
            print(line(row), flush=True)
        if not args.keep:
            shutil.rmtree(world.folder)
    return 0


def measure(world: World, stage: str) -> dict[str, Any]:
    """Run a stage in this process, which has done nothing else."""
    with timed() as took:
        found = dict((STAGES | RECORD_STAGES)[stage](world))
    took = found.pop("took", took)
    return {
        "stage": stage,
        "cases": world.cases,
        **{name: round(value, 2) for name, value in took.items()},
        "cpu_ms_per_case": round(1000 * took["cpu_seconds"] / world.cases, 3),
        "peak_mb": round(peak_rss_mb() * 1.048576),
        **found,
    }


def in_process(work: Path, cases: int, stage: str) -> dict[str, Any]:
    """Run a stage in a process of its own, so that its peak memory is its own too."""
    command: Sequence[str] = (
        *(sys.executable, "-m", "bench.scale"),
        *("--work", str(work), "--cases", str(cases), "--one", stage),
    )
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"stage": stage, "cases": cases, "failed": done.returncode}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def line(row: Mapping[str, Any]) -> str:
    """A row for people."""
    if "failed" in row:
        return f"{row['cases']:>7} {row['stage']:<17} failed with exit code {row['failed']}"
    known = ("note", "stage", "cases", "seconds", "cpu_seconds", "cpu_ms_per_case", "peak_mb")
    more = ", ".join(f"{key} {value}" for key, value in row.items() if key not in known)
    return (
        f"{row['cases']:>7} {row['stage']:<17} {row['seconds']:>9.2f} s "
        f"{row['cpu_seconds']:>9.2f} s CPU {row['cpu_ms_per_case']:>8.3f} ms a case "
        f"{row['peak_mb']:>6} MB  {more}"
    )


if __name__ == "__main__":
    sys.exit(main())
