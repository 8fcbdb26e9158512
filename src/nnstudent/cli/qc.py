"""Sort segmented scans by the Dice that is expected of each organ, worst first.

  nnstudent qc scans/ -o results/
      segments the scans and sorts them: results/qc.html with pictures, qc.csv
  nnstudent qc results/
      sorts what segment --statistics --preview wrote
  nnstudent qc results/ --next 5 --strategy uncertainty
      names the five scans that somebody should correct next
  nnstudent qc scans/ --calibrate corrected/ -o my-bundle
      calibrates on scans whose labels a person corrected; the labels have the
      names of the scans. Use it with --model my-bundle

The expected Dice has an interval that holds the true one in 9 of 10 scans like
those of the calibration. Scans of another hospital are not like those: correct
at least three, better ten, and calibrate on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.choices import STRATEGIES
from nnstudent.cli.common import (
    add_advanced,
    add_model,
    add_output,
    add_report,
    add_threads,
    positive,
)

if TYPE_CHECKING:
    from nnstudent.inference.files.shared import FilesResult

HELP = "sort segmented scans, the worst first, by their expected Dice"
PAGE, TABLE = "qc.html", "qc.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.set_defaults(prints_result=True)
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="results of nnstudent segment --statistics; or, with -o, scans",
    )
    add_output(
        parser,
        metavar="OUT",
        help="segment the scans of FOLDER into this folder; with --calibrate, the bundle to write",
        required=False,
    )
    add_model(parser)
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="CORRECTED",
        help="folder of corrected label maps, named after their scans: calibrate on them",
    )
    parser.add_argument(
        "--next", type=positive, metavar="N", help="also name the N scans to correct next"
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default=STRATEGIES[0],
        help="how --next chooses: the lowest expected Dice; each organ in turn where it is least "
        "confident; scans unlike each other; or at random, with an organ or any, to compare with "
        f"(default: {STRATEGIES[0]})",
    )
    add_report(parser, help="write the ranking, or what was calibrated, as JSON")
    add_threads(add_advanced(parser))


def run(args: argparse.Namespace) -> int:
    """Sort, or calibrate."""
    from nnstudent.errors import InputError

    if args.calibrate is not None:
        if args.next is not None:
            raise InputError("--next does not go with --calibrate; call qc once for each")
        if args.out is None:
            raise InputError("--calibrate without -o; expected the folder of the bundle to write")
        return _calibrate(args)
    return _rank(args)


def _rank(args: argparse.Namespace) -> int:
    from nnstudent.cli.common import failed_rows, print_failures, write_report
    from nnstudent.evaluation.ranking import (
        candidates,
        rank_folder,
        ranking_csv,
        ranking_lines,
    )
    from nnstudent.evaluation.ranking_page import ranking_page
    from nnstudent.io.atomic import write_text
    from nnstudent.quality.choose import choose_next

    segmented = None if args.out is None else _segment(args)
    failures = segmented.failures if segmented is not None else ()
    if segmented is not None and not segmented.rows and not segmented.skipped:
        return print_failures("qc", failures, done=0)
    folder = args.folder if args.out is None else args.out
    cases = rank_folder(folder)
    chosen: tuple[str, ...] = ()
    if args.next is not None:
        chosen = choose_next(candidates(folder), args.next, strategy=args.strategy)
    write_text(folder / TABLE, ranking_csv(cases))
    write_text(folder / PAGE, ranking_page(cases, folder=folder))
    write_report(
        args.report,
        {
            "folder": str(folder),
            "cases": [case.record() for case in cases],
            "bundle": None,
            "scans": 0,
            "shift": {},
            "next": list(chosen),
            "failures": failed_rows(failures),
        },
    )
    print("\n".join(ranking_lines(cases)))
    if chosen:
        print(f"correct next: {', '.join(chosen)}")
    print(f"wrote {folder / PAGE}, {folder / TABLE}")
    return print_failures("qc", failures, done=len(cases))


def _segment(args: argparse.Namespace) -> FilesResult:
    """Segment what has no result yet."""
    import sys

    from nnstudent.cli.common import Display, import_nibabel

    import_nibabel()
    from nnstudent.errors import InputError
    from nnstudent.inference.files.options import Options
    from nnstudent.inference.files.segment import segment_files
    from nnstudent.inference.segmenter import Segmenter

    if not args.folder.is_dir():
        raise InputError(f"{args.folder}: no such folder; expected a folder of scans")
    segmenter = Segmenter(args.model, precision="auto", windows="guided", threads=args.threads)
    if segmenter.model.quality is None:
        raise InputError(
            f"{segmenter.model.path}: has no calibration of its expected Dice; "
            "calibrate it with: nnstudent qc SCANS --calibrate CORRECTED --model BUNDLE "
            "-o CALIBRATED"
        )
    options = Options(statistics=True, preview=True, skip_existing=True)
    with Display() as display:
        result = segment_files(args.folder, args.out, segmenter, options=options, progress=display)
    for notice in result.notices:
        print(f"nnstudent qc: {notice}", file=sys.stderr)
    return result


def _calibrate(args: argparse.Namespace) -> int:
    from nnstudent.bundle.bundle import open_model
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.evaluation.calibrate import calibrate_bundle, scans_of_folders
    from nnstudent.words import count

    model = open_model(args.model)
    scans = scans_of_folders(
        args.folder, args.calibrate, taxonomy=model.taxonomy, classes=model.classes
    )
    with Display() as display:
        done = calibrate_bundle(
            args.model,
            scans,
            args.out,
            truth=f"label maps in {args.calibrate.resolve().name}, corrected by a person",
            threads=args.threads,
            progress=display,
        )
    body: dict[str, Any] = {
        "folder": None,
        "cases": [],
        "next": [],
        "bundle": str(done.bundle),
        "scans": done.scans,
        "shift": dict(done.quality.shift),
        "failures": failed_rows(done.failures),
    }
    write_report(args.report, body)
    print(f"{done.bundle}: expected Dice calibrated on {count(done.scans, 'scan')}")
    for name, value in done.quality.shift.items():
        print(f"  {name}: {value:+.2f}")
    print(f"segment with: nnstudent segment CT.nii.gz -o labels.nii.gz --model {done.bundle}")
    return print_failures("qc", done.failures, done=done.scans)
