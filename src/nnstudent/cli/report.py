"""Make one HTML file of a run, or its tables for a paper.

  nnstudent report RUN
      writes RUN/report.html with the scores, pictures, cohort, origin of the
      labels, training curves, time and memory; the file is complete in itself,
      works offline, and shows the scans of four cases slice by slice
  nnstudent report RUN --format latex -o paper/tables.tex
      writes the environment and how teachers and student were trained (Tables 1
      to 3 of the paper), the scores by class (Table 4), the lesions found, time
      and memory by image size (Table 5), and scores with and without unlabeled
      scans (Table 6), and beside it a picture of the two best and two worst
      cases (Figure 3); --format md writes Markdown

What the run does not have yet is left out. Without --format, the suffix of the
file decides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.choices import REPORT_FORMATS
from nnstudent.cli.common import add_output

HELP = "make one offline HTML file of a run, or its tables as Markdown or LaTeX"
_BY_SUFFIX = {".md": "md", ".tex": "latex"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="folder that nnstudent run made"
    )
    add_output(
        parser,
        metavar="FILE",
        help="file to write (default: report.html, report.md or report.tex in RUN)",
        required=False,
    )
    parser.add_argument(
        "--title", default="", help="heading of the report (default: the name of RUN's folder)"
    )
    parser.add_argument(
        "--format",
        choices=REPORT_FORMATS,
        help="format to write (default: by the suffix of FILE, otherwise html)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from nnstudent.report import write_report, write_tables

    kind = args.format
    if kind is None:
        kind = "html" if args.out is None else _BY_SUFFIX.get(args.out.suffix.lower(), "html")
    if kind == "html":
        print(write_report(args.run_folder, out=args.out, title=args.title))
    else:
        print(write_tables(args.run_folder, kind=kind, out=args.out, title=args.title))
    return 0
