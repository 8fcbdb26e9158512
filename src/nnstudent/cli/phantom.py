"""Make a cohort of synthetic abdominal CT: full, partial and no labels, and a test set with the whole truth.

Twenty scans as of a clinic (256×256, 1 to 5 mm slices), the same for the same seed:

    nnstudent phantom PHANTOMS --cases 20 --seed 1

Small ones, for a quick run of the whole path:

    nnstudent phantom PHANTOMS --cases 8 --preset tiny && nnstudent run PHANTOMS -o RUN --preset demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make a synthetic cohort with full, partial and no labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the new cohort")
    parser.add_argument(
        "--cases",
        type=int,
        metavar="N",
        help="how many scans (default: 20, or what the counts below add up to)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="the same seed makes the same bytes (default: 0)",
    )
    parser.add_argument(
        "--preset", default="standard", help="tiny, standard or full (default: standard)"
    )
    parser.add_argument(
        "--slices",
        type=int,
        metavar="N",
        help="slices of every scan (default: as its length and thickness ask for)",
    )
    for kind, what in (
        ("full", "with all organs annotated"),
        ("tumor", "with tumor and some organs annotated"),
        ("partial", "with one source's organs annotated"),
        ("unlabeled", "without labels"),
        ("test", "for testing, with the whole truth"),
    ):
        parser.add_argument(
            f"--{kind}",
            type=int,
            metavar="N",
            help=f"how many {what} (default: its share of the cases)",
        )
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was made")


def run(args: argparse.Namespace) -> int:
    """Make the cohort."""
    from nnstudent.cli.common import Display, write_report
    from nnstudent.phantom import Profile, make_cohort

    named: dict[Profile, int | None] = {
        "full": args.full,
        "tumor": args.tumor,
        "partial": args.partial,
        "unlabeled": args.unlabeled,
        "test": args.test,
    }
    counts = {kind: n for kind, n in named.items() if n is not None}
    cases = args.cases if args.cases is not None else sum(counts.values()) if counts else 20
    display = Display()
    cohort = make_cohort(
        args.out,
        cases=cases,
        seed=args.seed,
        preset=args.preset,
        slices=args.slices,
        counts=counts,
        progress=display,
    )
    display.close()
    write_report(
        args.report,
        {"cases": [{"id": c.id, "role": c.role, "annotated": sorted(c.annotated)} for c in cohort]},
    )
    print(f"{args.out}: {len(cohort)} phantoms, {len(cohort.test())} of them for testing")
    return 0
