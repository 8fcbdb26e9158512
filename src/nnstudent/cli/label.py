"""Fill in what nobody annotated: label the cases that lack a class by an ensemble of teachers.

  nnstudent label COHORT -o PSEUDO --teacher TEACHERS/organs TEACHERS/tumor
  nnstudent label COHORT -o PSEUDO --teacher NNUNET_FOLDER --map Postcava=inferior_vena_cava,kidney_l=left_kidney
  nnstudent label COHORT -o PSEUDO --from LABELS       label maps made elsewhere, named after the cases
  nnstudent label COHORT -o PSEUDO --teacher … --part 2/8    the second of eight machines
  nnstudent label COHORT -o PSEUDO --teacher … --probability    for select --ignore-below

Any nnU-Net v2 model folder is a teacher. Of several, a later one takes the place of the earlier for the classes that it knows.
Beside each PSEUDO/<case>.nii.gz, <case>.json says who made it, how sure they were (confidence) and how well the folds agree.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.cli.common import add_device, add_engine, add_threads, positive
from nnstudent.errors import InputError

HELP = "fill in what nobody annotated, by an ensemble of teachers or with labels made elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="folder that index wrote")
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        required=True,
        metavar="PSEUDO",
        help="folder to write",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--teacher", type=Path, nargs="+", metavar="FOLDER", help="nnU-Net model folders or bundles"
    )
    source.add_argument(
        "--from", type=Path, dest="labels_from", metavar="FOLDER", help="label maps made elsewhere"
    )
    parser.add_argument(
        "--map",
        metavar="FOREIGN=CLASS,…",
        help="which foreign class name (or value, with --from) is which class",
    )
    parser.add_argument(
        "--decision",
        choices=("dice", "argmax"),
        default="dice",
        help="which label a voxel gets: so that each label is expected to have the best Dice, thin organs keep their volume (default), "
        "or the most probable one",
    )
    parser.add_argument(
        "--part", default="1/1", metavar="I/N", help="only the I-th of N parts of the cases"
    )
    parser.add_argument(
        "--round",
        type=positive,
        default=1,
        metavar="N",
        help="number of this round of labelling, for the ledger (default: 1)",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="PSEUDO",
        help="folder of the round before: also tell how much has changed, for select --max-change",
    )
    parser.add_argument(
        "--probability",
        action="store_true",
        help="also write how probable the label of each voxel is and what it would be else: PSEUDO/probability, PSEUDO/runner_up",
    )
    add_engine(parser)
    add_device(parser, default="auto", why="for teachers are large and there are several")
    add_threads(parser)
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="also load checkpoints that may run code; only for models you trust",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what was labeled as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.pseudo.label import label
    from nnstudent.pseudo.settings import LabelSettings, TeacherOptions

    display = Display()
    try:
        result = label(
            read_cohort(args.cohort),
            args.out,
            teachers=args.teacher,
            labels_from=args.labels_from,
            mapping=read_map(args.map) if args.map else None,
            options=TeacherOptions(
                decision=args.decision,
                engine=args.engine,
                device=args.device,
                threads=args.threads,
                trust_pickle=args.trust_pickle,
            ),
            settings=LabelSettings(
                part=read_part(args.part),
                round=args.round,
                previous=args.before,
                uncertainty=args.probability,
            ),
            progress=display,
        )
    finally:
        display.close()
    for notice in result.notices:
        print(f"notice: {notice}")
    for item in result.labels:
        told = list(item.agreement.values())
        agreed = f"folds agree {sum(told) / len(told):.2f}" if told else "no agreement to tell"
        moved = f", {100 * item.changes[-1]:.1f} % changed" if item.changes else ""
        when = "" if item.case in result.made else ", made before"
        print(
            f"{item.case}: {len(item.found)} classes, {agreed}{moved}, {item.seconds:.1f} s{when}"
        )
    print(
        f"{len(result.labels)} case{'' if len(result.labels) == 1 else 's'} labeled, {len(result.made)} of them now: {args.out}"
    )
    rows = [
        {"id": item.case, "made": item.case in result.made, **item.to_dict()}
        for item in result.labels
    ]
    failed = [{"id": item.case, "reason": item.reason} for item in result.failures]
    write_report(args.report, {"cases": rows, "absent": list(result.absent), "failed": failed})
    return name_failures("label", result.failures, done=len(result.labels))


def read_map(text: str) -> dict[str, str]:
    """``a=b,c=d`` as a mapping.

    Raises:
        InputError: A part is not of that form.
    """
    pairs = {}
    for part in text.split(","):
        foreign, equals, name = (piece.strip() for piece in part.partition("="))
        if not (foreign and equals and name):
            raise InputError(f"--map {text}: {part!r} is not FOREIGN=CLASS")
        pairs[foreign] = name
    return pairs


def read_part(text: str) -> tuple[int, int]:
    """``I/N`` as two numbers.

    Raises:
        InputError: It is not of that form.
    """
    number, slash, parts = text.partition("/")
    if not slash or not number.isdecimal() or not parts.isdecimal():
        raise InputError(f"--part {text}: expected I/N, such as 2/8")
    return int(number), int(parts)
