"""Make a cohort from your scans: check every file, list what is annotated where.

  nnstudent index FLARE23 -o COHORT
      the challenge's folder as downloaded
  nnstudent index nnUNet_raw/Dataset001_X -o COHORT
      an nnU-Net raw dataset
  nnstudent index cases.csv -o COHORT
      a list with the columns id, image, label, annotated, role
  nnstudent index cases.toml -o COHORT
      [[case]] tables with the same keys
  nnstudent index cases.csv -o COHORT --annotated 'siteB_*=liver,spleen'
      says which classes somebody looked for in these cases
  nnstudent index cases.csv -o COHORT --part 2/8
      the second of eight machines; --merge 8 then makes the cohort

Broken cases are named and left out. Paths in a list are relative to it,
${VARIABLES} in them are expanded, and an image may be the folder of a DICOM
series. Where nothing is declared, the classes that occur in a case's label map
count as annotated. A second call reads only files that have changed. With
--quick only the headers of images are read, which takes minutes instead of
hours; label, study and segment then check the voxels.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.common import (
    SOURCE_HELP,
    add_advanced,
    add_merge,
    add_output,
    add_part,
    add_report,
    add_taxonomy,
    add_threads,
    names,
)
from nnstudent.errors import InputError
from nnstudent.io.parts import WHOLE
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.cohort.cohort import Case, Cohort
    from nnstudent.cohort.index import Indexed

HELP = "make a cohort from your scans: check every file, list what is annotated where"
_MOST_GROUPS = 10  # sets of annotated classes that are printed
_MOST_CASES = 1000  # cases, and notices, that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", metavar="SOURCE", type=Path, help=SOURCE_HELP)
    add_output(parser, metavar="COHORT", help="cohort folder to make")
    parser.add_argument(
        "--annotated",
        metavar="CASE=CLASSES",
        action="append",
        default=[],
        help="classes that are annotated in a case: class names, all, organs, none, or infer "
        "(from the label map); CASE may be a pattern; repeatable",
    )
    parser.add_argument(
        "--skip", metavar="CASE", action="append", default=[], help="leave a case out; repeatable"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="read only the headers of images, and leave their voxels to the stages that read "
        "them; label maps and DICOM series are read",
    )
    add_report(parser, help="write what was found as JSON")
    advanced = add_advanced(parser)
    add_taxonomy(advanced, default="the source's own")
    add_threads(advanced, help="cases read at a time (default: one per core)")
    add_part(advanced, help="check only the I-th of N parts of the cases")
    add_merge(advanced, help="check nothing, and make the cohort from N parts")


def run(args: argparse.Namespace) -> int:
    """Index the source and print what was found."""
    from nnstudent.cli.common import Display, print_failures, write_report
    from nnstudent.taxonomy import find_taxonomy

    overrides = dict(parse_override(text) for text in args.annotated)
    make = partial(
        _maker(args),
        args.source,
        args.out,
        taxonomy=find_taxonomy(args.taxonomy) if args.taxonomy else None,
        annotated=overrides,
        skip=args.skip,
    )
    with Display() as display:
        found = (
            make() if args.merge else make(quick=args.quick, threads=args.threads, progress=display)
        )
    lines = _first([f"notice: {notice}" for notice in found.notices], "notice", args.report)
    if found.cohort.cases:
        lines = [
            *_first(_table(found), "case", args.report),
            *lines,
            *summary(found),
            _place(args),
        ]
    else:
        lines.append(f"{args.source}: no usable case in it; no cohort was written")
    print("\n".join(lines))
    write_report(args.report, _report(found))
    return print_failures("index", found.cohort.broken, done=len(found.cohort))


def _maker(args: argparse.Namespace) -> Callable[..., Indexed]:
    """Return what indexes all cases, one part of them, or merges the parts.

    Raises:
        InputError: The options contradict each other.
    """
    from nnstudent.cohort.index import index
    from nnstudent.cohort.index_parts import index_part, merge_index

    if args.merge and args.part != WHOLE:
        raise InputError(f"--part {args.part} with --merge {args.merge}; expected one of the two")
    if args.merge:
        return partial(merge_index, count=args.merge)
    return index if args.part == WHOLE else partial(index_part, part=args.part)


def _place(args: argparse.Namespace) -> str:
    if args.part == WHOLE:
        return f"cohort: {args.out / 'cohort.json'}"
    return (
        f"part {args.part} of the cohort; when all have ended: nnstudent index {args.source} "
        f"-o {args.out} --merge {args.part.count}"
    )


def parse_override(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse ``CASE=CLASSES`` of ``--annotated``.

    Raises:
        InputError: The text does not have that form.
    """
    case, equals, classes = text.partition("=")
    words = names(classes)
    if not equals or not case or not words:
        raise InputError(
            f"--annotated {text}: expected CASE=CLASSES, such as case_7=liver,spleen or case_7=all"
        )
    return case, words


def _first(lines: list[str], noun: str, report: Path | None) -> list[str]:
    """Return the first lines, and how many more there are."""
    more = len(lines) - _MOST_CASES
    if more <= 0:
        return lines
    where = f"in {report}" if report is not None else "with --report FILE.json"
    return [*lines[:_MOST_CASES], f"… and {count(more, f'more {noun}')}, {where}"]


def _table(found: Indexed) -> list[str]:
    from nnstudent.cohort.annotate import describe_annotated

    rows = [("case", "image", "annotated", "known from", "role")]
    for case in found.cohort:
        annotated = describe_annotated(case.annotated, taxonomy=found.cohort.taxonomy)
        row = (case.id, found.facts[case.id].geometry, annotated, _origin(case), case.role)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]


def _origin(case: Case) -> str:
    """Return where a case's annotated classes are known from."""
    if case.declared:
        return "source"
    return "no label" if case.label is None else "label map"


def summary(found: Indexed) -> list[str]:
    """Return lines that say which stages the cohort is good for."""
    cohort, table = found.cohort, found.cohort.taxonomy
    cases, broken = count(len(cohort), "case"), len(cohort.broken)
    lines = [
        f"{cases} from {found.kind}, label table {table.name}; {broken} broken",
        *_groups(cohort),
    ]
    unchecked = sum(not case.checked for case in cohort)
    if unchecked:
        lines.append(
            f"notice: indexed quickly: of {count(unchecked, 'image')} only the header was read; "
            "label, study and segment name those with broken voxels and go on; index again "
            "without --quick to check them now"
        )
    organs = f"all {len(table.organs)} organs annotated"
    full = cohort.annotated_with(table.organs)
    if full:
        lines.append(f"{count(len(full), 'case')} with {organs}, for the organ teachers")
    else:
        lines.append(
            f"notice: no case has {organs}, so no organ teacher can be trained; declare one "
            "(--annotated CASE=organs), or bring a teacher: nnstudent label --teacher FOLDER"
        )
    lesions = " or ".join(table.lesions)
    with_lesion = {case.id for name in table.lesions for case in cohort.annotated_with([name])}
    if with_lesion:
        cases = count(len(with_lesion), "case")
        lines.append(f"{cases} with {lesions} annotated, for the tumor model")
    elif table.lesions:
        lines.append(f"notice: no case has {lesions} annotated, so no tumor model can be trained")
    lacking = len(cohort.not_fully_annotated(table.organs))
    if lacking:
        cases = count(lacking, "case")
        lines.append(f"{cases} with organs that are not annotated, for the teachers to label")
    labeled = sum(case.label is not None for case in cohort.test())
    cases = count(len(cohort.test()), "case")
    lines.append(f"{cases} for testing, {labeled} of them with labels to score against")
    return lines


def _groups(cohort: Cohort) -> list[str]:
    """Return how many training cases have which classes annotated, the largest groups first."""
    from nnstudent.cohort.annotate import describe_annotated

    groups = Counter(
        describe_annotated(case.annotated, taxonomy=cohort.taxonomy) for case in cohort.train()
    )
    ordered = groups.most_common()
    lines = [f"  {n:>5} for training, annotated: {what}" for what, n in ordered[:_MOST_GROUPS]]
    rest = ordered[_MOST_GROUPS:]
    if rest:
        cases = sum(n for _, n in rest)
        lines.append(f"  {cases:>5} for training, with {count(len(rest), 'other set')} of classes")
    return lines


def _report(found: Indexed) -> dict[str, Any]:
    from nnstudent.cli.common import failed_rows

    return {
        "source": found.kind,
        "taxonomy": found.cohort.taxonomy.name,
        "cases": [_row(case, found) for case in found.cohort],
        "failures": failed_rows(found.cohort.broken),
        "notices": list(found.notices),
        "summary": summary(found),
    }


def _row(case: Case, found: Indexed) -> dict[str, Any]:
    facts = found.facts[case.id]
    return {
        "id": case.id,
        "image": str(case.image),
        "label": None if case.label is None else str(case.label),
        "role": case.role,
        "annotated": list(found.cohort.taxonomy.sorted(case.annotated)),
        "declared": case.declared,
        "present": list(facts.present),
        "size": list(facts.size),
        "spacing_mm": list(facts.spacing_mm),
        "orientation": facts.axcodes,
        "hu": None if facts.hu is None else list(facts.hu),
        "checked": case.checked,
        "warnings": list(facts.warnings),
    }
