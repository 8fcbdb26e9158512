"""Choose the pseudo-labels worth learning from, lay the truth over them, and write the student's training set.

  nnstudent select COHORT PSEUDO -o FUSED
  nnstudent select COHORT PSEUDO -o FUSED --min-agreement 0.8
  nnstudent select COHORT PSEUDO -o FUSED --preset laptop        as `run` selects with this preset
  nnstudent select COHORT PSEUDO -o FUSED --ignore-below 0.6     after label --probability: doubtful voxels teach nothing

A case is kept if the teacher's folds agree on the organs that they filled in, and if each class that the student learns is annotated
or known to a teacher; with --leave-open, or a preset that says so, a class of which this is not true is left open instead.
FUSED/ledger.jsonl says, for each case and class, whether its labels are truth or pseudo, from which model, and why. FUSED/nnUNet_raw
is a raw dataset that stock nnU-Net reads.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

HELP = "truth over pseudo-labels, case by case: the set that the student learns from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="folder that index wrote")
    parser.add_argument("pseudo", type=Path, metavar="PSEUDO", help="folder that label wrote")
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        required=True,
        metavar="FUSED",
        help="folder to write",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME|FILE.toml",
        help="what its table [select] says, and organs alone with one_student = false, where no option here says otherwise",
    )
    parser.add_argument(
        "--min-agreement",
        type=float,
        default=None,
        help="least mean DSC between folds over the organs filled in (0.6)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=None,
        help="least mean confidence over the organs filled in (0)",
    )
    parser.add_argument(
        "--leave-open",
        action="store_true",
        default=None,
        help="judge class by class and keep the truth of every case: for a student "
        "with the marginal loss, as in the presets laptop and demo",
    )
    parser.add_argument(
        "--max-change",
        type=float,
        default=None,
        metavar="C",
        help="largest share of the foreground that may change from round to round, 0 to 1, after label --before (1)",
    )
    parser.add_argument(
        "--ignore-below",
        type=float,
        default=None,
        metavar="P",
        help="voxels of a pseudo-label whose probability is under P, 0 to 1, get nnU-Net's ignore label (0: none)",
    )
    parser.add_argument(
        "--classes",
        metavar="A,B,…",
        help="learn only these classes (default: all annotated or known to a model)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write the decisions as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import InputError
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.pseudo.select import select
    from nnstudent.pseudo.selection import SelectSettings

    given = {
        name: getattr(args, name)
        for name in ("min_agreement", "min_confidence", "leave_open", "max_change", "ignore_below")
    }
    preset = load_preset(args.preset) if args.preset else None
    base = SelectSettings() if preset is None else preset.select
    settings = replace(base, **{key: value for key, value in given.items() if value is not None})
    cohort = read_cohort(args.cohort)
    organs = None if preset is None else preset.student_classes(cohort.taxonomy)
    classes = args.classes.split(",") if args.classes else organs
    known = {name for case in cohort.train() for name in case.annotated}
    if not args.pseudo.is_dir() and cohort.not_fully_annotated(classes or known):
        raise InputError(
            f"{args.pseudo}: no such folder; expected the pseudo-labels that nnstudent label wrote"
        )
    result = select(
        cohort, args.pseudo, args.out, settings=settings, classes=classes, progress=Display()
    )
    for choice in result.decisions:
        ignored = result.ignored.get(choice.case, 0.0)
        doubt = f"; {100 * ignored:.2f} % of its voxels ignored" if ignored else ""
        print(f"{'kept   ' if choice.kept else 'dropped'}  {choice.case}: {choice.why}{doubt}")
    print(
        f"{len(result.kept)} of {len(result.decisions)} cases kept, {len(result.classes)} classes: {args.out}"
    )
    rows = [
        {
            "id": choice.case,
            "kept": choice.kept,
            "why": choice.why,
            "filled": list(choice.filled),
            "open": list(choice.open),
            "score": choice.score,
            "ignored": result.ignored.get(choice.case, 0.0),
        }
        for choice in result.decisions
    ]
    write_report(
        args.report,
        {
            "classes": list(result.classes),
            "cases": rows,
            "failed": [vars(item) for item in result.failures],
        },
    )
    return name_failures("select", result.failures, done=len(result.kept))
