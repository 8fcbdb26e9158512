"""Find training labels that look wrong, beside all others of the cohort.

  nnstudent audit COHORT -o audit
      writes audit/audit.html with pictures, the most suspicious cases first,
      and audit/audit.csv with every finding
  nnstudent audit COHORT -o audit --predictions TEACHERS/organs
      also compares with what the folds of an nnU-Net model predicted for cases
      that they did not learn from, or with any folder of label maps
  nnstudent audit COHORT -o audit --classes liver,spleen

Compared are volume, extent, place among the other organs, density, the step of
the image at the surface, loose pieces, holes, missing slices and sides. It
needs eight cases or more. A finding says that a label is unusual, not that it
is wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.common import (
    COHORT_HELP,
    add_advanced,
    add_classes,
    add_output,
    add_report,
    add_threads,
)

if TYPE_CHECKING:
    from nnstudent.labels.audit import Audit

HELP = "find training labels that look wrong, worst first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help=COHORT_HELP)
    add_output(parser, metavar="FOLDER", help="folder for audit.html and audit.csv")
    parser.add_argument(
        "--predictions",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="label maps by a model that did not learn from these cases, named after them, or an "
        "nnU-Net model folder with the validations of its folds; can be given again",
    )
    add_classes(parser, "--classes", help="look at these classes only (default: all)")
    parser.add_argument(
        "--pictures",
        type=int,
        default=20,
        metavar="N",
        help="how many cases are shown with pictures (default: 20)",
    )
    add_report(parser, help="write every finding as JSON")
    add_threads(add_advanced(parser))


def run(args: argparse.Namespace) -> int:
    """Look at the labels, write table and page, and print the worst cases."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import InputError
    from nnstudent.io.atomic import check_folder, write_text
    from nnstudent.labels.audit import audit
    from nnstudent.machine import cores
    from nnstudent.report.audit import require_page, write_audit
    from nnstudent.words import class_title, count

    if args.pictures < 0:
        raise InputError(f"--pictures {args.pictures}; expected a number of at least 0")
    require_page()
    cohort = read_cohort(args.cohort)
    check_folder(args.out)
    with Display() as display:
        found = audit(
            cohort,
            predictions=args.predictions,
            classes=args.classes,
            threads=args.threads or cores(),
            progress=display,
        )
        failures = found.failures
        if found.cases:
            write_text(args.out / "audit.csv", found.to_csv())
            failures += write_audit(
                args.out / "audit.html",
                found,
                cohort,
                most=args.pictures,
                title=args.cohort.resolve().name,
                progress=display,
            )
    for line in found.notices:
        print(f"notice: {line}")
    for case in found.suspicious[:10]:
        worst = case.findings[0]
        print(f"{case.suspicion:6.1f}  {case.id}: {class_title(worst.name)} {worst.text}")
    if len(found.suspicious) > 10:
        print(f"        … {len(found.suspicious) - 10} more")
    if found.cases:
        print(
            f"{count(len(found.cases), 'case')}, {len(found.suspicious)} with something unusual; "
            f"wrote {args.out / 'audit.html'} and audit.csv"
        )
    write_report(args.report, _report(found, failures=failed_rows(failures)))
    return print_failures("audit", failures, done=len(found.cases))


def _report(found: Audit, *, failures: list[dict[str, str]]) -> dict[str, Any]:
    cases = [
        {
            "id": case.id,
            "suspicion": round(case.suspicion, 2),
            "findings": [
                {
                    "class": item.name,
                    "kind": item.kind,
                    "deviations": round(item.deviations, 2),
                    "text": item.text,
                }
                for item in case.findings
            ],
        }
        for case in found.cases
    ]
    return {"cases": cases, "notices": list(found.notices), "failures": failures}
