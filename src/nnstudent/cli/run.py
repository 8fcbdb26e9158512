"""Take the whole path: from scans, some of them labeled, to a small student.

  nnstudent run cases.csv -o RUN
      the preset laptop, which needs no GPU
  nnstudent run FLARE23 -o RUN --preset paper
      a FLARE folder; an nnU-Net raw dataset or a cohort folder works too
  nnstudent run cases.csv -o RUN --dry-run
      checks extras, cases and disk space, and prints what is left to do
  nnstudent run cases.csv -o RUN --rounds 3
      the student becomes the next teacher, until the labels hardly change
  nnstudent run cases.csv -o RUN --executor slurm --jobs 8
      on a cluster: each fold and each eighth of the cases is a job of its own

If you stop it, the same command goes on from there and trains nothing twice.
While it trains, it shows the loss, the Dice of the validation windows, and
about how long the whole run will still take.

RUN holds what the stages made: cohort, teachers, pseudo, fused (with
ledger.jsonl), student (an nnU-Net model folder), second (if the preset has a
cascade), bundle, predictions, scores and report.html. run.json says what each
stage did, how long it took and how much memory. With --rounds, the
pseudo-labels, fused cohorts and students of later rounds are in round2, round3,
…; everything after them is of the last round.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.choices import EXECUTORS
from nnstudent.cli.common import (
    SOURCE_HELP,
    add_advanced,
    add_device,
    add_output,
    add_preset,
    add_report,
    add_taxonomy,
    add_threads,
    positive,
)

if TYPE_CHECKING:
    from nnstudent.cli.common import Display, Options
    from nnstudent.pipeline.run import RunResult
    from nnstudent.pipeline.stages import Listener, Stage, StageRecord

HELP = "take the whole path, from scans to a student, its scores and a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help=SOURCE_HELP)
    add_output(parser, metavar="RUN", help="the run's folder")
    add_preset(parser)
    add_device(parser, default="auto", why="training is slow without a GPU")
    add_dry_run(parser, checked="extras, cases and disk space")
    add_report(parser, help="write what each stage did as JSON")
    advanced = add_advanced(parser)
    add_rounds(advanced)
    advanced.add_argument(
        "--baseline",
        action="store_true",
        help="also train the student on the fully labeled cases alone, to compare",
    )
    add_threads(advanced)
    add_taxonomy(advanced, default="the source's own")
    _add_cluster(parser.add_argument_group("several machines"))


def add_dry_run(parser: argparse.ArgumentParser, *, checked: str) -> None:
    """Declare ``--dry-run`` of a verb that runs stages."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help=f"check {checked}, print what is left to do, do nothing",
    )


def add_rounds(group: Options) -> None:
    """Declare ``--rounds`` of a verb that runs stages."""
    group.add_argument(
        "--rounds",
        type=positive,
        default=1,
        metavar="N",
        help="label and study up to N times, from the second time on with the student as "
        "teacher (default: 1)",
    )


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="local",
        help="where the work is done: here, or as jobs of a cluster, by Snakemake; snakefile only "
        "writes RUN/jobs/Snakefile (default: local)",
    )
    group.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="jobs that run at the same time; the cases are cut into N parts (default: 1)",
    )
    group.add_argument(
        "--profile",
        type=Path,
        metavar="DIR",
        help="Snakemake profile: the cluster's partition, account, limits",
    )
    group.add_argument(
        "--job",
        metavar="JOB",
        help="do one job only, by hand or as the executors do: STAGE or STAGE:PIECE, as "
        "--executor slurm --dry-run names them",
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages that are left and print what each did."""
    from nnstudent.cli.common import Display, write_report
    from nnstudent.pipeline.cluster import Cluster
    from nnstudent.pipeline.run import open_run, run_folder, run_one, to_dict
    from nnstudent.taxonomy import find_taxonomy

    with Display() as display:
        folder, contents = open_run(
            args.source,
            args.out,
            preset=args.preset,
            taxonomy=find_taxonomy(args.taxonomy) if args.taxonomy else None,
            device=args.device,
            threads=args.threads,
            rounds=args.rounds,
            baseline=args.baseline,
            jobs=args.jobs,
            progress=display,
        )
        if args.job:
            result = run_one(folder, args.job)
        else:
            result = run_folder(
                folder,
                contents,
                cluster=Cluster(args.executor, args.jobs, args.profile, job_command(args)),
                dry_run=args.dry_run,
                listener=stage_printer(display, verb="run"),
            )
    write_report(args.report, to_dict(result))
    return _print_job(result) if args.job else print_result(result, args)


def job_command(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the command that does a job of this run on any machine, without ``--job``."""
    program = [sys.executable, "-m", "nnstudent"]
    if args.executor == "kubernetes":  # a container has its own Python
        program = ["nnstudent"]
    words = [*program, "run", os.path.abspath(args.source), "-o", os.path.abspath(args.out)]
    words += ["--preset", _place(args.preset), "--device", args.device, "--jobs", str(args.jobs)]
    words += ["--rounds", str(args.rounds)] if args.rounds > 1 else []
    words += ["--baseline"] if args.baseline else []
    words += ["--threads", str(args.threads)] if args.threads else []
    return (*words, *(["--taxonomy", _place(args.taxonomy)] if args.taxonomy else []))


def _place(name: str) -> str:
    """Return a name, or the full path if it is a file."""
    return os.path.abspath(name) if Path(name).is_file() else name


def _print_job(result: RunResult) -> int:
    """Print what one job did; return the exit code."""
    from nnstudent.cli.common import print_failures
    from nnstudent.pipeline.run import summary

    (row,) = result.stages
    print("\n".join(summary(result.stages)))
    for notice in result.notices:
        print(f"notice: {notice}")
    print_failures("run", row.failures, done=1)
    return result.exit_code


def stage_printer(display: Display, *, verb: str) -> Listener:
    """Return a listener that prints a line when a stage begins and when it ends.

    Args:
        display: The progress bars, which are closed first.
        verb: The verb that runs the stages, for the lines of failures.
    """

    def show(stage: Stage, record: StageRecord | None, *, number: int, total: int) -> None:
        from nnstudent.cli.common import print_failures
        from nnstudent.errors import Failure
        from nnstudent.words import duration

        display.close()
        head = f"[{number}/{total}] {stage.name}"
        if record is None:
            print(f"{head} …", flush=True)
            return
        failures = [Failure(f"{stage.name}: {item.case}", item.reason) for item in record.failures]
        if record.fresh:
            print(f"{head}: done before", flush=True)
        elif record.state == "failed":
            failures.append(Failure(stage.name, record.detail))
        elif record.state == "done":
            print(f"{head} in {duration(record.seconds)}: {record.detail}", flush=True)
        else:
            print(f"{head} {record.state}: {record.detail}", flush=True)
        print_failures(verb, failures, done=1)  # once, when it happens

    return show


def _print_workflow(args: argparse.Namespace) -> int:
    """Print how Snakemake does the jobs that were written; return the exit code."""
    words = ["snakemake", "--snakefile", str(args.out / "jobs" / "Snakefile")]
    words += ["--directory", str(args.out), "--jobs", str(args.jobs), "--keep-going"]
    print(f"workflow: {shlex.join(words)} --executor slurm")
    return 0


def print_result(result: RunResult, args: argparse.Namespace) -> int:
    """Print the table of stages and where the results are; return the exit code."""
    from nnstudent.pipeline.run import summary
    from nnstudent.words import count

    print()
    for line in summary(result.stages, details=args.dry_run):
        print(line)
    if args.dry_run:  # a run has said them when they came up
        for notice in result.notices:
            print(f"notice: {notice}")
        for failure in result.broken:
            line = f"{failure.case}: {failure.reason}"
            print(f"nnstudent run: broken, would be left out: {line}", file=sys.stderr)
        left = [row.name for row in result.stages if row.state == "left"]
        for line in result.jobs:
            print(f"job: {line}")
        print(f"left to do: {', '.join(left)}" if left else "nothing is left to do")
        return result.exit_code
    if args.executor == "snakefile":
        return _print_workflow(args)
    if result.failures:
        what = "named above when they happened"
        print(f"{count(len(result.failures), 'failure')}, {what}; also in {args.out / 'run.json'}")
    if args.rounds > 1 and result.student:
        print(f"student of the last round: {result.student}")
    if result.report:
        print(f"report: {result.report}", flush=True)
    else:
        print(f"no report; {args.out / 'run.json'} says what each stage did", flush=True)
    return result.exit_code
