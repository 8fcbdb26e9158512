"""Train the teachers: networks that learn from labeled scans, to label the others.

  nnstudent teach COHORT -o TEACHERS --preset laptop
      the organ teachers and the tumor model
  nnstudent teach COHORT -o TEACHERS --target organs --fold 0
      one fold of the organ teachers, for one of several machines
  nnstudent teach COHORT -o TEACHERS --preset paper --plan-only
      prints the networks, parameters and epochs; trains nothing

TEACHERS/organs and TEACHERS/tumor become nnU-Net model folders. If you stop it,
the same command goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.choices import TARGETS
from nnstudent.cli.common import (
    COHORT_HELP,
    Options,
    add_advanced,
    add_device,
    add_output,
    add_preset,
    add_report,
    add_threads,
)

HELP = "train the teachers of a cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help=COHORT_HELP)
    add_output(parser, metavar="TEACHERS", help="folder for the models")
    advanced = add_training_arguments(parser)
    advanced.add_argument(
        "--target", choices=TARGETS, default="all", help="models to train (default: all)"
    )
    advanced.add_argument(
        "--fold", default="all", metavar="K", help="number of a fold, from 0, or all (default: all)"
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> Options:
    """Declare the arguments that every verb that trains has; return the group of the others."""
    add_preset(parser)
    parser.add_argument(
        "--plan-only", action="store_true", help="print what would be trained and train nothing"
    )
    add_device(parser, default="auto", why="training is slow without a GPU")
    add_report(parser, help="write what was trained as JSON")
    advanced = add_advanced(parser)
    add_threads(advanced)
    return advanced


def run(args: argparse.Namespace) -> int:
    """Train the teachers, or print what would be trained."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.training.design.describe import describe
    from nnstudent.training.teach import teach, teach_tasks

    cohort, preset = read_cohort(args.cohort), load_preset(args.preset)
    if args.plan_only:
        tasks = teach_tasks(cohort, preset.teaching, target=args.target)
        described = [describe(task) for task in tasks]
        print("\n".join(line for item in described for line in item.lines()))
        plan = [item.to_dict() for item in described]
        write_report(args.report, {"preset": preset.to_dict(), "plan": plan})
        return 0
    with Display() as display:
        result = teach(
            cohort,
            args.out,
            preset.teaching,
            target=args.target,
            folds=None if args.fold == "all" else [parse_fold(args.fold)],
            device=args.device,
            threads=args.threads,
            progress=display,
        )
    models = [model for model in (result.organs, result.tumor) if model is not None]
    for model in models:
        folds = ", ".join(map(str, model.folds))
        word = "fold" if len(model.folds) == 1 else "folds"
        print(f"{model.model}: {word} {folds} trained, {len(model.fresh)} of them now")
    write_report(
        args.report,
        {
            "preset": preset.to_dict(),
            "models": [model.to_dict() for model in models],
            "failures": failed_rows(result.failures),
        },
    )
    return print_failures("teach", result.failures, done=len(result.models))


def parse_fold(text: str) -> int:
    """Parse the number of a fold.

    Raises:
        InputError: The text is not a number from 0.
    """
    from nnstudent.errors import InputError

    if not text.isdigit():
        raise InputError(f"--fold {text}: expected a number from 0, or all")
    return int(text)
