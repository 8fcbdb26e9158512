"""Make one HTML file of a run: scores, pictures, cohort, where labels came from, trainings, time and memory.

  nnstudent report RUN
      writes RUN/report.html

  nnstudent report RUN -o somewhere/else.html

The file is complete: it needs no network and no other file. What a run does not have (yet) is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "one offline HTML file of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that nnstudent run made")
    parser.add_argument("-o", "--output", dest="out", type=Path, metavar="FILE.html", help="where to write (default: report.html in RUN)")


def run(args: argparse.Namespace) -> int:
    """Write the report and print where; returns the exit code."""
    from nnstudent.evaluation.report import write_report

    print(write_report(args.run_folder, out=args.out))
    return 0
