"""The report's section on the expected Dice: how it fared on the scans of its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from nnstudent.data_files import read_json_table
from nnstudent.quality.judged import Judged
from nnstudent.report.format import css_color
from nnstudent.serialization import from_plain
from nnstudent.taxonomy import Taxonomy
from nnstudent.words import class_title

QUALITY = "quality.json"  # in a run's folder
_WORST = 8  # organs of single scans that are listed


@dataclass(frozen=True)
class QualityFacts:
    """What is known of the calibration of a run's bundle.

    Attributes:
        scans: How many scans it rests on.
        level: The share of true values that an interval is to hold.
        organs: What it says of each organ of these scans, and the truth.
    """

    scans: int
    level: float
    organs: tuple[Judged, ...]


@dataclass(frozen=True)
class QualityRow:
    """A class in the scans of the calibration; numbers as text."""

    title: str
    color: str | None
    scans: int
    expected: str
    true: str
    inside: str
    flagged: int


@dataclass(frozen=True)
class QualitySection:
    """The section.

    Attributes:
        scans: How many scans the calibration rests on.
        level: The share that an interval is to hold, as text.
        inside: The share that lies inside, as text.
        rows: A row per class.
        worst: The organs of which the least is expected, the worst first.
    """

    scans: int
    level: str
    inside: str
    rows: Sequence[QualityRow]
    worst: Sequence[dict[str, str]]


def read_quality(path: Path) -> QualityFacts:
    """Read what the stage ``export`` wrote of a calibration.

    Raises:
        InputError: It cannot be read.
    """
    fields = read_json_table(path, what="what was expected")
    facts: QualityFacts = from_plain(QualityFacts, fields, where=str(path))
    return facts


def quality_section(facts: QualityFacts | None, taxonomy: Taxonomy) -> QualitySection | None:
    """Return the section; None if the bundle has no calibration."""
    if facts is None or not facts.organs:
        return None
    names = [name for name in taxonomy.names if any(item.organ == name for item in facts.organs)]
    by_organ = {name: [item for item in facts.organs if item.organ == name] for name in names}
    rows = [_row(name, items, taxonomy) for name, items in by_organ.items()]
    worst = sorted(facts.organs, key=lambda item: item.expected)[:_WORST]
    return QualitySection(
        facts.scans,
        f"{facts.level:.0%}",
        _share(facts.organs),
        rows,
        [
            {
                "scan": item.scan,
                "title": class_title(item.organ),
                "expected": f"{item.expected:.2f} ({item.low:.2f} to {item.high:.2f})",
                "verdict": item.verdict,
                "true": f"{item.true:.2f}",
            }
            for item in worst
        ],
    )


def _row(name: str, items: Sequence[Judged], taxonomy: Taxonomy) -> QualityRow:
    return QualityRow(
        class_title(name),
        css_color(taxonomy[name]),
        len(items),
        f"{fmean(item.expected for item in items):.2f}",
        f"{fmean(item.true for item in items):.2f}",
        _share(items),
        sum(item.verdict != "pass" for item in items),
    )


def _share(items: Sequence[Judged]) -> str:
    return f"{fmean(item.inside for item in items):.0%}"
