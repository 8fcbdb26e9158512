"""Go the whole path: from scans, some of them labeled, to a small student, its scores and a report.

  nnstudent run cases.toml -o RUN --preset laptop
  nnstudent run COHORT -o RUN --preset demo            an indexed cohort, a FLARE folder, an nnU-Net dataset
  nnstudent run cases.toml -o RUN --preset laptop --rounds 3    the student becomes the next teacher, until labels hardly change
  nnstudent run cases.toml -o RUN --preset laptop --dry-run     only say what is left to do

The same command again goes on where the last one ended and trains nothing twice. RUN shows the path: cohort, teachers, pseudo,
fused (with ledger.jsonl), student (an nnU-Net model folder), second (of a preset with a cascade), bundle, predictions, scores,
report.html; run.json says what each stage did, how long it took and how much memory. With --rounds, pseudo, fused and student are
of the first round; those of later ones are in round2, round3, …, and everything after is of the last.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import add_device, add_threads, positive

if TYPE_CHECKING:
    from nnstudent.pipeline.stages import Stage, StageRecord

HELP = "the whole path, from scans to a student, its scores and a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help=".csv or .toml list, FLARE folder, nnU-Net raw dataset, or an indexed cohort",
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        required=True,
        metavar="RUN",
        help="the run's folder",
    )
    parser.add_argument(
        "--preset",
        default="laptop",
        metavar="P",
        help="paper, laptop, demo, or a TOML file (default: laptop)",
    )
    parser.add_argument(
        "--taxonomy", type=Path, metavar="FILE", help="another label table: flare23 or a TOML file"
    )
    add_device(parser, default="auto", why="for to train is slow without a GPU")
    add_threads(parser, alias=["--jobs"])
    parser.add_argument(
        "--rounds",
        type=positive,
        default=1,
        metavar="N",
        help="label and study N times, each time with the student before as teacher (1)",
    )
    parser.add_argument(
        "--baseline",
        action="store_true",
        help="also train the student on the fully labeled cases alone, to compare",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what is left to do")
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what each stage did as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.pipeline.run import run as run_path
    from nnstudent.pipeline.run import summary, to_dict
    from nnstudent.taxonomy import find_taxonomy

    display = Display()

    def tell(row: StageRecord | None, stage: Stage, number: int, total: int) -> None:
        display.close()
        if row is None:
            print(f"[{number}/{total}] {stage.name} …", flush=True)
        elif row.fresh:
            print(f"[{number}/{total}] {stage.name}: done before", flush=True)
        else:
            cost = f" in {row.seconds:.1f} s" if row.state == "done" else f" {row.state}"
            print(f"[{number}/{total}] {stage.name}{cost}: {row.detail}", flush=True)

    result = run_path(
        args.source,
        args.out,
        preset=args.preset,
        taxonomy=find_taxonomy(args.taxonomy) if args.taxonomy else None,
        device=args.device,
        threads=args.threads,
        rounds=args.rounds,
        baseline=args.baseline,
        dry_run=args.dry_run,
        progress=display,
        tell=tell,
    )
    display.close()
    write_report(args.report, to_dict(result))
    print()
    for line in summary(result.stages):
        print(line)
    for notice in result.notices:
        print(f"notice: {notice}")
    if args.dry_run:
        left = [row.name for row in result.stages if row.state == "left"]
        print(f"left to do: {', '.join(left)}" if left else "nothing is left to do")
        return 0
    name_failures("run", result.failures, done=1)
    if args.rounds > 1 and result.student:
        print(f"student of the last round: {result.student}")
    print(
        f"report: {result.report}"
        if result.report
        else f"no report; {args.out / 'run.json'} says what each stage did",
        flush=True,
    )
    return result.exit_code
