"""Make one HTML file of a run, or its tables for a paper: scores, pictures, cohort, where labels came from, trainings, time and memory.

  nnstudent report RUN
      writes RUN/report.html, complete in itself: it needs no network and no other file; the scans of four cases can be scrolled in it

  nnstudent report RUN --format latex -o paper/tables.tex
      scores by class (Table 4 of the paper), lesions found, time and memory by image size (Table 5),
      with and without unlabeled scans (Table 6), and beside it a picture of two good and two bad cases (Figure 3);
      --format md for Markdown

What a run does not have (yet) is left out. Without --format, the suffix of the file decides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "one offline HTML file of a run, or its tables as Markdown or LaTeX"
_BY_SUFFIX = {".md": "md", ".tex": "latex"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="the folder that nnstudent run made"
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        metavar="FILE",
        help="where to write (default: report.html, .md or .tex in RUN)",
    )
    parser.add_argument(
        "--format",
        choices=("html", "md", "latex"),
        help="what to write (default: by the file's suffix, else html)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print where; returns the exit code."""
    from nnstudent.report import write_report, write_tables

    kind = args.format or (
        "html" if args.out is None else _BY_SUFFIX.get(args.out.suffix.lower(), "html")
    )
    print(
        write_report(args.run_folder, out=args.out)
        if kind == "html"
        else write_tables(args.run_folder, kind=kind, out=args.out)
    )
    return 0
