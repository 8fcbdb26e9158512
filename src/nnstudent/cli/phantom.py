"""Make a cohort of synthetic abdominal CT to try everything without patient data.

Like a real collection it has scans with all organs labeled, with some, and with
none, and a test set with the whole truth.

  nnstudent phantom PHANTOMS --cases 20 --seed 1
      20 scans of clinical size (256×256, slices of 1 to 5 mm); the same seed
      makes the same scans
  nnstudent phantom PHANTOMS --cases 8 --preset tiny
  nnstudent run PHANTOMS -o RUN --preset demo
      small scans, for a quick run of the whole path
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.cli.common import add_report
from nnstudent.words import count

HELP = "make a synthetic cohort with full, partial and no labels"
DEFAULT_CASES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the new cohort")
    parser.add_argument(
        "--cases",
        type=int,
        metavar="N",
        help=f"how many scans (default: {DEFAULT_CASES}, or the sum of the counts below)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="the same seed makes the same files, byte for byte (default: 0)",
    )
    parser.add_argument(
        "--preset",
        default="standard",
        help="tiny, medium, standard, varied (standard with more operated and otherwise "
        "unusual patients) or full (default: standard)",
    )
    add_report(parser, help="write the cases as JSON")
    group = parser.add_argument_group("what the scans are like")
    group.add_argument(
        "--slices",
        type=int,
        metavar="N",
        help="slices of every scan (default: from its length and slice thickness)",
    )
    for kind, what in (
        ("full", "with all organs annotated"),
        ("tumor", "with tumor and some organs annotated"),
        ("partial", "with the organs of one source annotated"),
        ("unlabeled", "without labels"),
        ("test", "for testing, with the whole truth"),
    ):
        group.add_argument(
            f"--{kind}",
            type=int,
            metavar="N",
            help=f"how many scans {what} (default: a fixed share of the cases)",
        )


def run(args: argparse.Namespace) -> int:
    """Make the cohort."""
    from nnstudent.cli.common import Display, write_report
    from nnstudent.phantom import LabelProfile, make_cohort

    named: dict[LabelProfile, int | None] = {
        "full": args.full,
        "tumor": args.tumor,
        "partial": args.partial,
        "unlabeled": args.unlabeled,
        "test": args.test,
    }
    counts = {kind: n for kind, n in named.items() if n is not None}
    cases = args.cases
    if cases is None:
        cases = sum(counts.values()) if counts else DEFAULT_CASES
    with Display() as display:
        cohort = make_cohort(
            args.out,
            cases=cases,
            seed=args.seed,
            preset=args.preset,
            slices=args.slices,
            counts=counts,
            progress=display,
        )
    rows = [{"id": c.id, "role": c.role, "annotated": sorted(c.annotated)} for c in cohort]
    write_report(args.report, {"cases": rows})
    print(f"{args.out}: {count(len(cohort), 'phantom')}, {len(cohort.test())} for testing")
    return 0
