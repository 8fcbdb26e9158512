"""Choose the pseudo-labels worth learning from and lay the truth over them.

  nnstudent select COHORT PSEUDO -o FUSED
  nnstudent select COHORT PSEUDO -o FUSED --preset laptop
      selects as `run` does with this preset
  nnstudent select COHORT PSEUDO -o FUSED --min-agreement 0.8
      keeps only cases on which the teacher's folds agree well
  nnstudent select COHORT PSEUDO -o FUSED --ignore-below 0.6
      ignores uncertain voxels; needs label --probability

A case is kept if the teacher's folds agree on the organs that they filled in,
and if each class that the student learns is annotated or known to a teacher.
With --leave-open, or a preset that says so, a class that fails this is left
open and the rest of the case is kept.

FUSED/ledger.jsonl says for each case and class whether its label is truth or a
pseudo-label, which model made it, and why. FUSED/nnUNet_raw is a raw dataset
that stock nnU-Net reads.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import (
    COHORT_HELP,
    Options,
    add_advanced,
    add_classes,
    add_output,
    add_report,
)
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.pseudo.select import SelectResult

HELP = "lay truth over pseudo-labels and keep what is worth learning from"
_SETTINGS = (
    "min_agreement",
    "min_confidence",
    "leave_open",
    "max_change",
    "ignore_below",
    "min_lesion_agreement",
)

_MOST_CASES = 1000  # cases that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help=COHORT_HELP)
    parser.add_argument(
        "pseudo", type=Path, metavar="PSEUDO", help="folder made by: nnstudent label"
    )
    add_output(parser, metavar="FUSED", help="folder to write")
    parser.add_argument(
        "--preset",
        metavar="P",
        help="take the table [select] of this preset, and only the organs if its one_student "
        "is false; the options below take precedence",
    )
    add_classes(
        parser,
        "--classes",
        help="learn only these classes (default: all that are annotated or known to a model)",
    )
    add_report(parser, help="write the decisions as JSON")
    _add_advanced(add_advanced(parser))


def _add_advanced(group: Options) -> None:
    group.add_argument(
        "--min-agreement",
        type=float,
        metavar="DSC",
        help="least mean DSC between folds over the organs filled in (default: 0.6)",
    )
    group.add_argument(
        "--min-confidence",
        type=float,
        metavar="C",
        help="least mean confidence over the organs filled in, 0 to 1 (default: 0)",
    )
    group.add_argument(
        "--leave-open",
        action="store_true",
        default=None,
        help="judge each class by itself and keep the truth of every case; for a student with "
        "the marginal loss, as in the presets laptop and demo",
    )
    group.add_argument(
        "--max-change",
        type=float,
        metavar="C",
        help="largest share of the foreground that may change from round to round, 0 to 1; "
        "needs label --before (default: 1)",
    )
    group.add_argument(
        "--ignore-below",
        type=float,
        metavar="P",
        help="give voxels of a pseudo-label with a probability below P, 0 to 1, nnU-Net's "
        "ignore label; needs label --probability (default: 0, none)",
    )
    group.add_argument(
        "--min-lesion-agreement",
        type=float,
        metavar="A",
        help="give a lesion on which fewer of the folds agree, as a share from 0 to 1, nnU-Net's "
        "ignore label (default: 0, none)",
    )


def run(args: argparse.Namespace) -> int:
    """Select, and print the decision on each case."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import InputError
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.pseudo.select import select
    from nnstudent.pseudo.selection import SelectSettings

    preset = load_preset(args.preset) if args.preset else None
    given = {name: getattr(args, name) for name in _SETTINGS}
    settings = replace(
        SelectSettings() if preset is None else preset.select,
        **{key: value for key, value in given.items() if value is not None},
    )
    cohort = read_cohort(args.cohort)
    organs = None if preset is None else preset.student_classes(cohort.taxonomy)
    classes = args.classes or organs
    annotated = {name for case in cohort.train() for name in case.annotated}
    if not args.pseudo.is_dir() and cohort.not_fully_annotated(classes or annotated):
        raise InputError(
            f"{args.pseudo}: no such folder; expected the pseudo-labels that nnstudent label wrote"
        )
    with Display() as display:
        result = select(
            cohort, args.pseudo, args.out, settings=settings, classes=classes, progress=display
        )
    for decision in result.decisions[:_MOST_CASES]:
        share = result.ignored.get(decision.case, 0.0)
        ignored = f"; {100 * share:.2f} % of its voxels ignored" if share else ""
        state = "kept   " if decision.kept else "dropped"
        print(f"{state}  {decision.case}: {decision.why}{ignored}")
    if (more := len(result.decisions) - _MOST_CASES) > 0:
        print(f"… and {count(more, 'more case')}, in {args.out / 'ledger.jsonl'}")
    cases = f"{len(result.kept)} of {count(len(result.decisions), 'case')} kept"
    print(f"{cases}, {count(len(result.classes), 'class', plural='classes')}: {args.out}")
    write_report(
        args.report,
        {
            "classes": list(result.classes),
            "cases": _rows(result),
            "failures": failed_rows(result.failures),
        },
    )
    return print_failures("select", result.failures, done=len(result.kept))


def _rows(result: SelectResult) -> list[dict[str, object]]:
    return [
        {
            "id": decision.case,
            "kept": decision.kept,
            "why": decision.why,
            "filled": list(decision.filled),
            "open": list(decision.open),
            "score": decision.score,
            "ignored": result.ignored.get(decision.case, 0.0),
        }
        for decision in result.decisions
    ]
