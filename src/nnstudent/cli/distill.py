"""Train a small student of models that exist, on scans without labels.

  nnstudent distill SCANS --teacher MODEL -o RUN
      SCANS is a folder of scans, or any source that nnstudent index reads
  nnstudent distill SCANS --teacher organs vessels -o RUN --map totalsegmentator
      models of nnstudent model list; what their classes are is a map
  nnstudent distill SCANS --teacher MODEL -o RUN --classes liver,spleen
  nnstudent distill SCANS --teacher MODEL -o RUN --budget-seconds 10
      chooses network, spacing and window so that this machine segments a scan
      in 10 seconds
  nnstudent distill SCANS --teacher MODEL -o RUN --start bundled
      the student starts from the weights of the student that comes with the
      package, which helps if it is to know organs of the abdomen too
  nnstudent distill SCANS --teacher MODEL -o RUN --rounds 2
      the student becomes the next teacher

The teachers label the scans, the student learns from that, and RUN/bundle is
what nnstudent segment runs, without torch. If you stop it, the same command
goes on from there. RUN holds the same as after nnstudent run; where SCANS has
labels of test cases, the report compares the student with the teachers on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.common import (
    SOURCE_HELP,
    add_advanced,
    add_classes,
    add_device,
    add_output,
    add_report,
    add_taxonomy,
    add_threads,
    model,
)
from nnstudent.cli.run import add_dry_run, add_rounds, print_result, stage_printer
from nnstudent.cli.study import add_budget, add_start, check_budget, fit_budget, start_model

if TYPE_CHECKING:
    from nnstudent.pipeline.preset import Preset

HELP = "train a small student of models that exist, on scans without labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "scans", type=Path, metavar="SCANS", help=f"a folder of scans, or {SOURCE_HELP}"
    )
    parser.add_argument(
        "--teacher",
        type=model,
        nargs="+",
        required=True,
        metavar="MODEL",
        help="nnU-Net model folders, bundles, names from nnstudent model list, or bundled; where "
        "several know a class, the last one labels it",
    )
    add_output(parser, metavar="RUN", help="the run's folder")
    add_classes(
        parser, "--classes", help="what the student learns (default: all that the teachers know)"
    )
    parser.add_argument(
        "--map",
        metavar="MAP",
        help="what the teachers' classes are: a name from nnstudent maps, a TOML file, or "
        "FOREIGN=CLASS,…",
    )
    add_start(parser)
    add_device(parser, default="auto", why="teachers are large, and training is slow")
    add_dry_run(parser, checked="teachers, scans, extras and disk space")
    add_report(parser, help="write what each stage did as JSON")
    add_budget(parser)
    advanced = add_advanced(parser)
    advanced.add_argument(
        "--preset",
        default="distill",
        help="preset of the student: a name, or a TOML file (default: distill, which is laptop "
        "without teachers)",
    )
    add_rounds(advanced)
    add_threads(advanced)
    add_taxonomy(advanced, default="FLARE23's with --map, otherwise the teachers' own")
    parser.set_defaults(executor="local")  # what a run prints depends on where its work was done


def run(args: argparse.Namespace) -> int:
    """Run the stages that are left and print what each did."""
    from nnstudent.cli.common import Display, write_report
    from nnstudent.pipeline.distill import distill
    from nnstudent.pipeline.run import to_dict
    from nnstudent.taxonomy import find_taxonomy

    check_budget(args)
    how: dict[str, Any] = {
        "teachers": args.teacher,
        "classes": args.classes,
        "mapping": args.map,
        "taxonomy": find_taxonomy(args.taxonomy) if args.taxonomy else None,
    }
    preset, budget = _preset(args, how)
    with Display() as display:
        result = distill(
            args.scans,
            args.out,
            preset=preset,
            device=args.device,
            threads=args.threads,
            rounds=args.rounds,
            start=start_model(args.start),
            dry_run=args.dry_run,
            progress=display,
            listener=stage_printer(display, verb="distill"),
            **how,
        )
    write_report(args.report, {**to_dict(result), **budget})
    code = print_result(result, args)
    if not args.dry_run and code < 2:
        print(f"segment with: nnstudent segment CT -o LABELS --model {args.out / 'bundle'}")
    return code


def _preset(args: argparse.Namespace, how: dict[str, Any]) -> tuple[Preset, dict[str, Any]]:
    """The preset, with the network that fits the budget if there is one."""
    from nnstudent.pipeline.distill import grids_of, plan_lesson
    from nnstudent.pipeline.preset import load_preset

    preset = load_preset(args.preset)
    if args.budget_seconds is None:
        return preset, {}
    lesson = plan_lesson(args.scans, args.out, **how)
    return fit_budget(
        args, preset, grids=grids_of(args.scans, lesson), classes=len(lesson.taxonomy)
    )
