"""Label the cases in which classes are not annotated, by an ensemble of teachers.

  nnstudent label COHORT -o PSEUDO --teacher TEACHERS/organs TEACHERS/tumor
      teachers that nnstudent teach trained
  nnstudent label COHORT -o PSEUDO --teacher NNUNET --map kidney_l=left_kidney
      any nnU-Net v2 model folder; its class kidney_l is our left_kidney
  nnstudent label COHORT -o PSEUDO --from LABELS
      label maps made by another tool, named after the cases
  nnstudent label COHORT -o PSEUDO --teacher TEACHERS/organs --part 2/8
      the second of eight machines
  nnstudent label COHORT -o PSEUDO --teacher TEACHERS/organs --probability
      also writes uncertainty, for select --ignore-below

If several teachers know a class, the last one labels it. Beside each
PSEUDO/<case>.nii.gz, <case>.json says which models made it, how confident they
were and how well their folds agree.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.choices import DECISIONS, DEVICES, PRECISIONS
from nnstudent.cli.common import (
    COHORT_HELP,
    Options,
    add_advanced,
    add_device,
    add_engine,
    add_output,
    add_part,
    add_report,
    add_threads,
    add_trust_pickle,
    model,
    positive,
)
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.pseudo.write import LabelResult

HELP = "label what nobody annotated, by teachers or with labels made elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help=COHORT_HELP)
    add_output(parser, metavar="PSEUDO", help="folder to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--teacher",
        type=model,
        nargs="+",
        metavar="MODEL",
        help="nnU-Net model folders, bundles, names from nnstudent model list, or bundled",
    )
    source.add_argument(
        "--from", type=Path, dest="labels_from", metavar="FOLDER", help="label maps made elsewhere"
    )
    parser.add_argument(
        "--map",
        metavar="MAP",
        help="what foreign classes are: a name from nnstudent maps, a TOML file, or "
        "FOREIGN=CLASS,… (with --from also VALUE=CLASS,…)",
    )
    add_device(
        parser,
        default="auto",
        why="teachers are large and there are several",
        choices=DEVICES,
    )
    add_report(parser, help="write what was labeled as JSON")
    _add_advanced(add_advanced(parser))


def _add_advanced(group: Options) -> None:
    add_part(group, help="label only the I-th of N parts of the cases; select takes all N together")
    group.add_argument(
        "--decision",
        choices=DECISIONS,
        default="dice",
        help="how a voxel gets its label: dice maximizes the expected Dice of each class, so that "
        "thin organs keep their volume; argmax takes the most probable class (default: dice)",
    )
    group.add_argument(
        "--round",
        type=positive,
        default=1,
        metavar="N",
        help="number of this round of labeling, for the ledger (default: 1)",
    )
    group.add_argument(
        "--before",
        type=Path,
        metavar="PSEUDO",
        help="pseudo-labels of the round before: record how much each case and class has "
        "changed, for select --max-change",
    )
    group.add_argument(
        "--probability",
        action="store_true",
        help="also write the probability of each voxel's label and its second most probable "
        "class, to PSEUDO/probability and PSEUDO/runner_up",
    )
    add_engine(group)
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="precision of the teachers' arithmetic; auto takes the fastest that the model and the "
        "processor have, see nnstudent doctor (default: fp32, the same on every machine)",
    )
    add_threads(group)
    add_trust_pickle(group)


def run(args: argparse.Namespace) -> int:
    """Label the cases and print a line for each."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.labels.class_maps import find_map
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.settings import LabelSettings, TeacherOptions

    cohort = read_cohort(args.cohort)
    with Display() as display:
        result = label(
            cohort,
            args.out,
            teachers=args.teacher,
            labels_from=args.labels_from,
            mapping=None if args.map is None else find_map(args.map, taxonomy=cohort.taxonomy),
            options=TeacherOptions(
                decision=args.decision,
                engine=args.engine,
                device=args.device,
                precision=args.precision,
                threads=args.threads,
                trust_pickle=args.trust_pickle,
            ),
            settings=LabelSettings(
                part=args.part,
                round=args.round,
                previous=args.before,
                uncertainty=args.probability,
            ),
            progress=display,
        )
    print("\n".join(summary(result, args.out)))
    rows = [
        {"id": item.case, "made": item.case in result.made, **item.to_dict()}
        for item in result.labels
    ]
    failed = failed_rows(result.failures)
    write_report(args.report, {"cases": rows, "absent": list(result.absent), "failures": failed})
    return print_failures("label", result.failures, done=len(result.labels))


def summary(result: LabelResult, out: Path) -> list[str]:
    """Return the notices, a line for each case, and a line for all of them."""
    lines = [f"notice: {notice}" for notice in result.notices]
    for item in result.labels:
        values = list(item.agreement.values())
        agreed = "agreement unknown"
        if values:
            agreed = f"folds agree {sum(values) / len(values):.2f}"
        changed = f", {100 * item.changes[-1]:.1f} % changed" if item.changes else ""
        before = "" if item.case in result.made else ", made before"
        classes = count(len(item.found), "class", plural="classes")
        lines.append(f"{item.case}: {classes}, {agreed}{changed}, {item.seconds:.1f} s{before}")
    cases = count(len(result.labels), "case")
    return [*lines, f"{cases} labeled, {len(result.made)} of them now: {out}"]
