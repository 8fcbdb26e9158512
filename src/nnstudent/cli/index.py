"""Make a cohort from your scans: check every file, say what is annotated where and what is broken.

  nnstudent index FLARE23 -o COHORT                    the challenge's folder as downloaded
  nnstudent index nnUNet_raw/Dataset001_X -o COHORT    an nnU-Net raw dataset
  nnstudent index cases.csv -o COHORT                  columns: id, image, label, annotated, role
  nnstudent index cases.toml -o COHORT                 [[case]] tables with the same keys

A list's paths are relative to it; ${VARIABLES} in them are expanded; an image may be a DICOM series folder.
Where nobody declares what a case has annotated, it is what occurs in its label map; to say otherwise:

  nnstudent index cases.csv -o COHORT --annotated case_7=all --annotated 'siteB_*=liver,spleen'

A second call reads only files that have changed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.common import add_threads
from nnstudent.errors import InputError

if TYPE_CHECKING:
    from nnstudent.cohort.index import Indexed

HELP = "make a cohort from your scans: check every file, say what is annotated where"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help=".csv or .toml list, FLARE folder, nnU-Net raw dataset, or an indexed cohort",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="COHORT",
        type=Path,
        required=True,
        help="the cohort folder to make",
    )
    parser.add_argument(
        "--taxonomy",
        metavar="FILE",
        type=Path,
        help="another label table than the source's own: flare23 or a TOML file",
    )
    parser.add_argument(
        "--annotated", metavar="CASE=CLASSES", action="append", default=[],
        help="what a case has annotated: class names, all, organs, none, or infer; CASE may be a pattern; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--skip", metavar="CASE", action="append", default=[], help="leave a case out; repeatable"
    )
    add_threads(parser, told="processor threads, each reads a case (default: up to 4)")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Index."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.cohort.index import index
    from nnstudent.taxonomy import find_taxonomy

    overrides = dict(_override(text) for text in args.annotated)
    taxonomy = find_taxonomy(args.taxonomy) if args.taxonomy else None
    display = Display()
    try:
        found = index(
            args.source,
            args.output,
            taxonomy=taxonomy,
            annotated=overrides,
            skip=args.skip,
            threads=args.threads,
            progress=display,
        )
    finally:
        display.close()
    for line in _table(found):
        print(line)
    for notice in found.notices:
        print(f"notice: {notice}")
    for line in summary(found):
        print(line)
    print(f"cohort: {args.output / 'cohort.json'}")
    write_report(args.report, _report(found))
    return name_failures("index", found.cohort.broken, done=len(found.cohort))


def _override(text: str) -> tuple[str, tuple[str, ...]]:
    case, equals, classes = text.partition("=")
    words = tuple(word.strip() for word in classes.split(",") if word.strip())
    if not equals or not case or not words:
        raise InputError(
            f"--annotated {text}: expected CASE=CLASSES, such as case_7=liver,spleen or case_7=all"
        )
    return case, words


def _table(found: Indexed) -> list[str]:
    from nnstudent.cohort.annotate import describe_annotated

    rows = [("case", "image", "annotated", "said by", "role")]
    for case in found.cohort:
        by = "declared" if case.declared else "label map" if case.label is not None else "no label"
        rows.append(
            (
                case.id,
                found.facts[case.id].geometry,
                describe_annotated(case.annotated, taxonomy=found.cohort.taxonomy),
                by,
                case.role,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]


def summary(found: Indexed) -> list[str]:
    """What the cohort is good for, in words."""
    from nnstudent.cohort.annotate import describe_annotated

    cohort, table = found.cohort, found.cohort.taxonomy
    groups = Counter(describe_annotated(case.annotated, taxonomy=table) for case in cohort.train())
    full = cohort.annotated_with(table.organs)
    lines = [
        f"{len(cohort)} cases under label table {table.name} from {found.kind}; {len(cohort.broken)} broken"
    ]
    lines += [
        f"  {count:>5} to learn from, annotated: {what}" for what, count in groups.most_common(10)
    ]
    if len(groups) > 10:
        lines.append(
            f"  {sum(count for _, count in groups.most_common()[10:]):>5} with {len(groups) - 10} other sets of classes"
        )
    if full:
        lines.append(
            f"{_cases(len(full))} with all {len(table.organs)} organs annotated: they train the organ teachers"
        )
    else:
        lines.append(
            f"notice: no case has all {len(table.organs)} organs annotated, so no organ teacher can be trained from it; declare one "
            "(--annotated CASE=organs), or bring a teacher: nnstudent label --teacher FOLDER"
        )
    with_lesion = {case.id for name in table.lesions for case in cohort.annotated_with([name])}
    if with_lesion:
        lines.append(
            f"{_cases(len(with_lesion))} with {' or '.join(table.lesions)} annotated: they train the tumor model"
        )
    elif table.lesions:
        lines.append(
            f"notice: no case has {' or '.join(table.lesions)} annotated; it is left out, and the path goes on without"
        )
    lines.append(
        f"{_cases(len(cohort.not_fully_annotated(table.organs)))} not fully annotated: their organs are to be filled in by the teachers"
    )
    with_truth = sum(case.label is not None for case in cohort.test())
    lines.append(
        f"{_cases(len(cohort.test()))} for testing, {with_truth} of them with labels to score against"
    )
    return lines


def _cases(number: int) -> str:
    return "1 case" if number == 1 else f"{number} cases"


def _report(found: Indexed) -> dict[str, Any]:
    table = found.cohort.taxonomy

    def row(case: Any) -> dict[str, Any]:
        facts = found.facts[case.id]
        return {
            "id": case.id, "image": str(case.image), "label": None if case.label is None else str(case.label), "role": case.role,
            "annotated": list(table.sorted(case.annotated)), "declared": case.declared, "present": list(facts.present),
            "size": list(facts.size), "spacing_mm": list(facts.spacing_mm), "orientation": facts.axcodes, "hu": list(facts.hu),
            "warnings": list(facts.warnings),
        }  # fmt: skip

    broken: Sequence[dict[str, str]] = [
        {"id": failure.case, "reason": failure.reason} for failure in found.cohort.broken
    ]
    return {
        "source": found.kind, "taxonomy": table.name, "cases": [row(case) for case in found.cohort], "broken": list(broken),
        "notices": list(found.notices), "summary": summary(found),
    }  # fmt: skip
