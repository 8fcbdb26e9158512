"""Train the teachers: networks that learn from the labeled scans and then label the others.

  nnstudent teach COHORT -o TEACHERS --preset laptop      organ teachers and the tumor model
  nnstudent teach COHORT -o TEACHERS --target organs --fold 0
  nnstudent teach COHORT -o TEACHERS --preset paper --plan-only
                                                          networks, parameters, epochs; trains nothing

TEACHERS/organs and TEACHERS/tumor become nnU-Net model folders. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.cli.common import add_device, add_threads

HELP = "train the teachers of a cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT", help="cohort folder, made by: nnstudent index"
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        required=True,
        metavar="TEACHERS",
        help="folder for the models",
    )
    parser.add_argument(
        "--target",
        choices=("organs", "tumor", "all"),
        default="all",
        help="which models (default: all)",
    )
    parser.add_argument(
        "--fold",
        default="all",
        metavar="K",
        help="one fold by its number from 0, or all (default: all)",
    )
    add_training_arguments(parser)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """What every verb that trains takes."""
    parser.add_argument(
        "--preset",
        default="laptop",
        metavar="P",
        help="paper, laptop, demo, or a TOML file (default: laptop)",
    )
    parser.add_argument(
        "--plan-only", action="store_true", help="print what would be trained, and train nothing"
    )
    add_device(parser, default="auto", why="for to train is slow without a GPU")
    add_threads(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what was done as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Teach."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.training.design.describe import describe
    from nnstudent.training.teach import teach, teach_tasks

    cohort, preset = read_cohort(args.cohort), load_preset(args.preset)
    if args.plan_only:
        described = [
            describe(task) for task in teach_tasks(cohort, preset.teaching, target=args.target)
        ]
        print("\n".join(line for item in described for line in item.lines()))
        write_report(
            args.report,
            {"preset": preset.to_dict(), "plan": [item.to_dict() for item in described]},
        )
        return 0
    folds = None if args.fold == "all" else [number(args.fold)]
    display = Display()
    try:
        result = teach(
            cohort,
            args.out,
            preset.teaching,
            target=args.target,
            folds=folds,
            device=args.device,
            threads=args.threads,
            progress=display,
        )
    finally:
        display.close()
    for trained in (result.organs, result.tumor):
        if trained is not None:
            print(
                f"{trained.model}: folds {', '.join(map(str, trained.folds))} done, {len(trained.fresh)} of them now"
            )
    write_report(
        args.report,
        {
            "preset": preset.to_dict(),
            "models": [
                trained.to_dict()
                for trained in (result.organs, result.tumor)
                if trained is not None
            ],
            "failed": [
                {"id": failure.case, "reason": failure.reason} for failure in result.failures
            ],
        },
    )
    return name_failures("teach", result.failures, done=len(result.models))


def number(fold: str) -> int:
    """A fold's number.

    Raises:
        InputError: It is none.
    """
    from nnstudent.errors import InputError

    if not fold.isdigit():
        raise InputError(f"--fold {fold}: expected a number from 0, or all")
    return int(fold)
