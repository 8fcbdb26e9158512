"""The output of ``segment``: the organs of one case or a table of several, and the files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.words import class_title, count

if TYPE_CHECKING:
    from nnstudent.inference.files.shared import FilesResult

_MOST_ROWS = 30  # cases in the table on the terminal
_MOST_FILES = 6  # files of a case that are named in one line
_MOST_NAMES = 2  # organs not found that are named in a row
EXPECTED = "expected Dice"
NOT_CALIBRATED = "expected Dice: unknown, because the model has no calibration of it"


def print_result(
    result: FilesResult, out: Path, *, lesions: Sequence[str], calibrated: bool = True
) -> None:
    """Print the organs of a single case, or a table of several, the worst first.

    Args:
        result: What was segmented.
        out: The output that was asked for.
        lesions: Classes that are no organs: nothing is wrong where they are not found.
        calibrated: Whether the model has a calibration of its expected Dice.
    """
    done, skipped, failed = len(result.rows), len(result.skipped), len(result.failures)
    if done == 1 and not failed and not skipped:
        _print_case(result.rows[0], note="" if calibrated else NOT_CALIBRATED)
        return
    for row in result.rows:
        for warning in row["warnings"]:
            print(f"nnstudent segment: {row['id']}: {warning}", file=sys.stderr)
    if done:
        print("\n".join(case_table(result.rows, lesions=lesions)))
        if not calibrated:
            print(NOT_CALIBRATED)
    print(f"{done} segmented, {skipped} skipped, {failed} failed")
    if done:
        print(f"wrote {_kinds(result)}: {out}")


def case_table(rows: Sequence[Mapping[str, Any]], *, lesions: Sequence[str] = ()) -> list[str]:
    """Return a line per case, the worst first.

    Where the model has a calibration of its expected Dice, organs that fail count first, then
    those to look at; then warnings, organs missing, and the lowest expectation or confidence.

    Args:
        rows: The records of the cases, as in the report.
        lesions: Classes that are no organs.
    """
    cases = sorted((_Row(row, lesions) for row in rows), key=lambda row: row.badness)
    some_lesions = any(row.lesion_ml is not None for row in cases)
    head = [
        "case",
        "fail/look",
        "organs",
        "at border",
        "least expected Dice",
        "least confident",
        "s",
        "lesions ml",
        "not found",
    ]
    calibrated = any(row.verdicts for row in cases)
    kept = [
        title
        for title in head
        if (calibrated or title not in ("fail/look", "least expected Dice"))
        and (some_lesions or title != "lesions ml")
    ]
    cells = [dict(zip(head, case.cells(), strict=True)) for case in cases[:_MOST_ROWS]]
    table = [kept, *([row[title] for title in kept] for row in cells)]
    widths = [max(len(row[column]) for row in table) for column in range(len(kept))]
    # Text; numbers are set to the right.
    words = ("case", "least expected Dice", "least confident", "not found")
    left = {column for column, title in enumerate(kept) if title in words}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    rest = len(cases) - _MOST_ROWS
    if rest > 0:
        lines.append(f"… and {count(rest, 'better case')}; --statistics and --report have all")
    return lines


class _Row:
    """A case in the table."""

    def __init__(self, record: Mapping[str, Any], lesions: Sequence[str]) -> None:
        organs = {name: f for name, f in record["organs"].items() if name not in lesions}
        found = {name: facts for name, facts in organs.items() if facts["volume_ml"]}
        known = [
            (facts["confidence"], name)
            for name, facts in found.items()
            if facts["confidence"] is not None
        ]
        lesion_facts = [record["organs"][name] for name in lesions if name in record["organs"]]
        self.id, self.seconds = str(record["id"]), float(record["seconds"]["total"])
        self.warnings = len(record["warnings"])
        self.organs, self.found = len(organs), len(found)
        self.missing = [name for name in organs if name not in found]
        self.cut = sum(bool(facts["touches_border"]) for facts in found.values())
        self.doubt = min(known, default=None)
        judged = {name: f["quality"] for name, f in organs.items() if f.get("quality")}
        self.verdicts = Counter(quality["verdict"] for quality in judged.values())
        self.expected = min(
            (
                (quality["expected_dice"], name)
                for name, quality in judged.items()
                if quality["expected_dice"] is not None
            ),
            default=None,
        )
        self.lesion_ml = sum(f["volume_ml"] for f in lesion_facts) if lesion_facts else None

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst case first."""
        return (
            -self.verdicts["fail"],
            -self.verdicts["look"],
            -self.warnings,
            -len(self.missing),
            self.expected[0] if self.expected else 1.0,
            self.doubt[0] if self.doubt else 1.0,
        )

    def cells(self) -> list[str]:
        """Return the row's texts, in the order of the table's columns."""
        names = ", ".join(map(class_title, self.missing[:_MOST_NAMES]))
        rest = len(self.missing) - _MOST_NAMES
        missing = f"{names} and {rest} more" if rest > 0 else names
        return [
            self.id,
            f"{self.verdicts['fail']}/{self.verdicts['look']}",
            f"{self.found}/{self.organs}",
            str(self.cut or "-"),
            _least(self.expected),
            _least(self.doubt),
            f"{self.seconds:.1f}",
            f"{self.lesion_ml:.1f}" if self.lesion_ml else "-",
            missing if self.found or not self.organs else "any organ",
        ]


def _least(item: tuple[float, str] | None) -> str:
    return f"{item[0]:.2f} {class_title(item[1])}" if item else "-"


def _kinds(result: FilesResult) -> str:
    """Return how many files of which ending were written."""
    endings = Counter(
        "".join(Path(file).suffixes[-2:])
        if file.endswith((".nii.gz", ".dcm", ".nrrd"))
        else Path(file).suffix
        for row in result.rows
        for file in row["files"]
    )
    kinds = [f"{number} {ending}" for ending, number in endings.items()]
    if result.statistics is not None:
        kinds.append(result.statistics.name)
    return ", ".join(kinds)


def expected_dice(facts: Mapping[str, Any]) -> str:
    """Return what is expected of an organ: ``0.91 (0.84 to 0.95) pass``.

    Args:
        facts: The organ's entry in the report.
    """
    quality = facts.get("quality")
    if quality is None:
        return "-"
    if quality["expected_dice"] is None:
        return str(quality["verdict"])
    low, high = quality["dice_interval"]
    return f"{quality['expected_dice']:.2f} ({low:.2f} to {high:.2f}) {quality['verdict']}"


def _print_case(row: dict[str, Any], *, note: str) -> None:
    from nnstudent.inference.memory import gigabytes

    width = max(len(name) for name in row["organs"])
    calibrated = any(facts.get("quality") for facts in row["organs"].values())
    heading = f"  {EXPECTED:<24}" if calibrated else ""
    print(f"{'organ':<{width}}  {'ml':>8}  confidence{heading}".rstrip())
    for name, facts in row["organs"].items():
        if not facts["volume_ml"]:
            in_view = ", although its place is in view: look" if facts.get("quality") else ""
            print(f"{name:<{width}}  {'-':>8}  not found{in_view}")
            continue
        # Unknown for a voxel or two that lie between the network's own voxels.
        confidence = "?" if facts["confidence"] is None else f"{facts['confidence']:.2f}"
        flag = "  touches the border of the image" if facts["touches_border"] else ""
        expected = f"  {expected_dice(facts):<24}" if calibrated else ""
        line = f"{name:<{width}}  {facts['volume_ml']:>8.1f}  {confidence:>10}{expected}{flag}"
        print(line.rstrip())
    for warning in row["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if note:
        print(note)
    print(f"{row['seconds']['total']:.1f} s, {gigabytes(row['peak_rss_mb']):.2f} GB of memory")
    files = row["files"]
    if len(files) <= _MOST_FILES:
        print(f"wrote {', '.join(files)}")
    else:
        print("\n".join(["wrote", *(f"  {file}" for file in files)]))
