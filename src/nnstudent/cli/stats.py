"""Measure label maps: volume, density, size and place of each organ, as one table.

  nnstudent stats labels/ images/ -o table.csv
      a row for each case and organ; images are found by the label maps' names
  nnstudent stats labels/ -o table.csv
      without images there are no densities
  nnstudent stats labels/ images/ -o table.csv --wide
      a row for each case, with columns such as liver.volume_ml
  nnstudent stats labels.nii.gz ct.nii.gz --classes liver,spleen
      prints the table of one case

Who made the label maps does not matter. A dataset.json beside them, as nnU-Net
writes it, names their classes; --taxonomy names another label table.

Diameters are the largest in any axial slice. volume_percentile and outlier
compare a volume with those of the other cases; outlier is empty with fewer than
eight. docs/reference/stats.md describes each column.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import (
    add_advanced,
    add_classes,
    add_output,
    add_report,
    add_taxonomy,
    add_threads,
)

if TYPE_CHECKING:
    from nnstudent.labels.stats import Statistics

HELP = "measure label maps: volumes, densities, diameters, as one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.set_defaults(prints_result=True)
    parser.add_argument(
        "labels", type=Path, metavar="LABELS", help="a label map, or a folder of them"
    )
    parser.add_argument(
        "images",
        type=Path,
        nargs="?",
        metavar="IMAGES",
        help="the CT of the label map, or a folder of them, for the densities",
    )
    add_output(parser, metavar="FILE.csv", help="the table; without it, print it", required=False)
    add_classes(parser, "--classes", help="measure only these classes (default: all)")
    parser.add_argument(
        "--wide", action="store_true", help="a row for each case, not for each case and organ"
    )
    add_report(parser, help="write all measures as JSON")
    advanced = add_advanced(parser)
    add_taxonomy(advanced, default="that of a dataset.json, otherwise FLARE23's")
    add_threads(advanced)


def run(args: argparse.Namespace) -> int:
    """Measure the label maps and write the table."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.io.atomic import check_file, write_text
    from nnstudent.labels.stats import measure_files
    from nnstudent.machine import cores
    from nnstudent.taxonomy import find_taxonomy
    from nnstudent.words import count

    if args.out is not None:
        check_file(args.out)
    with Display() as display:
        found = measure_files(
            args.labels,
            args.images,
            taxonomy=None if args.taxonomy is None else find_taxonomy(args.taxonomy),
            classes=args.classes,
            threads=args.threads or cores(),
            progress=display,
        )
    text = found.to_csv("wide" if args.wide else "long")
    if args.out is None:
        print(text, end="")
    elif found.cases:
        write_text(args.out, text)
        outliers = sum(bool(row["outlier"]) for row in found.rows())
        more = f", {count(outliers, 'outlier')} by volume" if outliers else ""
        print(f"{count(len(found.cases), 'case')}{more}; wrote {args.out}")
    _print_notes(found)
    body = {"rows": list(found.rows()), "failures": failed_rows(found.failures)}
    write_report(args.report, body)
    return print_failures("stats", found.failures, done=len(found.cases))


def _print_notes(found: Statistics) -> None:
    import sys

    lines = [*found.notices]
    lines += [f"{case.id}: {line}" for case in found.cases for line in case.warnings]
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
