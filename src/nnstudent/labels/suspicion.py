"""What is suspicious about each label map beside the others of its cohort; pure figures.

A figure is suspicious if it lies far from the cohort's median, in units of its spread. The spread
is that of a normal distribution with the same median distance from the median (the modified z-score
of B. Iglewicz and D. Hoaglin, 1993), or with the same 95th percentile on that side if that is more,
because many figures have a long tail. Each kind of figure has a least spread, so that a cohort of
equal cases does not make small differences large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from nnstudent.labels.form import Form
from nnstudent.labels.measure import Measures
from nnstudent.labels.stats import FEWEST_CASES, OUTLIER_DEVIATIONS
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.types import Float64Array

MOST = 50.0  # deviations; what lies farther away is not more suspicious
BEYOND_MM = 5.0  # how far beyond the body's middle an organ is on the wrong side
_WRONG_SIDE, _ABSENT = 25.0, 15.0
_RARE = 0.05  # share of the other cases that lack a class, from which that is usual
_PLACE_MM = 6.0  # least spread of a place, mm
_IN_VIEW_MM = 25.0  # an organ whose middle is this far inside the image is in view
_TAIL, _FEW = 0.05, 2  # share of the cases on each side, and number, that may be wrong themselves


@dataclass(frozen=True)
class CaseFacts:
    """What is known of one case.

    Attributes:
        id: The case.
        measures: What was measured of each annotated class, by name.
        forms: The form of each class that is there.
        low_mm: Corner of the image towards left, posterior and inferior, RAS+, mm.
        high_mm: The opposite corner.
        dsc: Agreement with a prediction by class; empty without one.
    """

    id: str
    measures: Mapping[str, Measures]
    forms: Mapping[str, Form]
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    dsc: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that is suspicious about one class of one case.

    Attributes:
        case: The case.
        name: The class.
        kind: What it is about, such as ``volume``.
        deviations: How far it is from the cohort, as a modified z-score; at most :data:`MOST`.
        text: What was found and what is usual.
    """

    case: str
    name: str
    kind: str
    deviations: float
    text: str


@dataclass(frozen=True)
class _Figure:
    """A figure that is compared within the cohort.

    Attributes:
        kind: What it is about.
        of: The figure of a class; None where it is unknown.
        least: Least spread.
        low: Whether a figure below the median is suspicious.
        high: Whether one above is.
        show: The figure in words.
    """

    kind: str
    of: Callable[[Measures, Form], float | None]
    least: float
    low: bool = True
    high: bool = True
    show: Callable[[float], str] = "{:.2f}".format


def _log(value: float | None, least: float = 1e-3) -> float | None:
    return None if value is None else math.log(max(value, 0.0) + least)


def _whole_percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _percent(value: float) -> str:
    return f"{100 * max(0.0, math.exp(value) - 0.005):.1f} %"


_SHARE = 0.005  # a share of half a percent is as good as none
_FIGURES = (
    _Figure("volume", lambda m, f: _log(m.volume_ml), 0.15, show=lambda v: f"{math.exp(v):.1f} ml"),
    _Figure(
        "height",
        lambda m, f: _log(m.size_mm[2]) if m.size_mm else None,
        0.12,
        show=lambda v: f"{math.exp(v):.0f} mm",
    ),
    _Figure(
        "density",
        lambda m, f: m.density.median if m.density else None,
        10.0,
        show=lambda v: f"{v:.0f} HU",
    ),
    _Figure(
        "spread of density",
        lambda m, f: _log(m.density.sd, 3.0) if m.density else None,
        0.15,
        low=False,
        show=lambda v: f"{math.exp(v) - 3:.0f} HU",
    ),
    _Figure("misfit", lambda m, f: f.misfit, 0.05, low=False, show=_whole_percent),
    _Figure("pieces", lambda m, f: _log(f.loose, _SHARE), 0.3, low=False, show=_percent),
    _Figure("holes", lambda m, f: _log(f.holes, _SHARE), 0.25, low=False, show=_percent),
    _Figure(
        "holes in slices", lambda m, f: _log(f.slice_holes, _SHARE), 0.3, low=False, show=_percent
    ),
    _Figure("missing slices", lambda m, f: _log(f.missing, _SHARE), 0.25, low=False, show=_percent),
    _Figure("jump", lambda m, f: f.jump, 0.06, low=False, show=_whole_percent),
    _Figure("flat end", lambda m, f: f.flat, 0.08, low=False, show=_whole_percent),
)
_WORDS = {
    "volume": "volume",
    "height": "extent from feet to head",
    "density": "median density",
    "spread of density": "SD of its density",
    "misfit": "step of the image at its surface below the best one near it by",
    "pieces": "share in loose pieces, by their distance,",
    "holes": "share of holes",
    "holes in slices": "share of holes in axial slices",
    "missing slices": "share of slices without it",
    "jump": "largest change of area between two slices",
    "flat end": "area of its first or last slice, as a share of the largest",
    "place": "place",
    "prediction": "agreement with the prediction",
}


def find_suspicious(cases: Sequence[CaseFacts], taxonomy: Taxonomy) -> tuple[Finding, ...]:
    """Find what is suspicious in each case, beside the other cases.

    Figures are compared where at least eight cases have the class; sides are checked always. A
    class that the image cuts is not compared by volume, height and place.

    Args:
        cases: The cases.
        taxonomy: The label table.

    Returns:
        The findings over 3.5 deviations, worst first.
    """
    found: list[Finding] = []
    for item in taxonomy:
        there = [case for case in cases if item.name in case.forms]
        if item.kind == "lesion" or not there:
            continue
        if len(there) >= FEWEST_CASES:
            for figure in _FIGURES:
                found += _compared(there, item.name, figure)
            found += _agreement(there, item.name)
    found += _places(cases, taxonomy)
    for case in cases:
        found += _sides(case, taxonomy)
    return tuple(
        sorted(
            (finding for finding in found if finding.deviations > OUTLIER_DEVIATIONS),
            key=lambda finding: (-finding.deviations, finding.case, finding.name),
        )
    )


def suspicion(findings: Sequence[Finding]) -> float:
    """Return how suspicious a case is with these findings: the norm of their deviations.

    Of each class and kind the worst counts, less what is usual.
    """
    excess = [finding.deviations - OUTLIER_DEVIATIONS for finding in findings]
    return math.hypot(*excess) if excess else 0.0


def _compared(cases: Sequence[CaseFacts], name: str, figure: _Figure) -> list[Finding]:
    known = []
    for case in cases:
        measures = case.measures[name]
        cut = bool(measures.touches_border) and figure.kind in ("volume", "height")
        value = None if cut else figure.of(measures, case.forms[name])
        if value is not None:
            known.append((case.id, value))
    return _far(known, name, figure)


def _far(known: Sequence[tuple[str, float]], name: str, figure: _Figure) -> list[Finding]:
    """The findings among the figures of all cases."""
    if len(known) < FEWEST_CASES:
        return []
    values = np.array([value for _, value in known])
    median, below, above = _spread(values, figure.least)
    low, high = (figure.show(float(edge)) for edge in np.percentile(values, (5, 95)))
    found = []
    for id, value in known:
        away = (value - median) / (above if value > median else below)
        if (away < 0 and not figure.low) or (away > 0 and not figure.high):
            continue
        text = f"{_WORDS[figure.kind]} {figure.show(value)}, usually {low} to {high}"
        found.append(Finding(id, name, figure.kind, min(abs(away), MOST), text))
    return found


def _spread(values: Float64Array, least: float) -> tuple[float, float, float]:
    """The median, and the spread below and above it."""
    median = float(np.median(values))
    usual = max(float(np.median(np.abs(values - median))) / 0.6745, least)
    tail = max(_TAIL, _FEW / len(values))
    low, high = np.quantile(values, (tail, 1 - tail))
    deviations = NormalDist().inv_cdf(1 - tail)
    return (
        median,
        max(usual, (median - float(low)) / deviations),
        max(usual, (float(high) - median) / deviations),
    )


def _agreement(cases: Sequence[CaseFacts], name: str) -> list[Finding]:
    known = [(case.id, case.dsc[name]) for case in cases if name in case.dsc]
    return _far(known, name, _Figure("prediction", lambda m, f: None, 0.015, high=False))


def _places(cases: Sequence[CaseFacts], taxonomy: Taxonomy) -> list[Finding]:
    """Places relative to the other classes, and classes that are absent where they belong."""
    if not cases:
        return []
    names = [item.name for item in taxonomy if item.kind == "organ"]
    centers = np.full((len(cases), len(names), 3), np.nan)
    for row, case in enumerate(cases):
        for column, name in enumerate(names):
            measures = case.measures.get(name)
            if measures and measures.center_mm:
                centers[row, column] = measures.center_mm
                if measures.touches_border:  # its middle between feet and head is unknown
                    centers[row, column, 2] = np.nan
    found: list[Finding] = []
    for column, name in enumerate(names):
        expected = _expected(centers, column)
        away = centers[:, column] - expected
        found += _misplaced(cases, name, away)
        found += _absent(cases, name, expected)
    return found


def _misplaced(cases: Sequence[CaseFacts], name: str, away: Float64Array) -> list[Finding]:
    """The distance of a class from where it is expected, (case, 3), by the worst axis."""
    deviations = np.zeros(len(cases))
    for axis in range(3):
        known = np.flatnonzero(np.isfinite(away[:, axis]))
        if len(known) < FEWEST_CASES:
            continue
        values = away[known, axis]
        median, below, above = _spread(values, _PLACE_MM)
        scaled = np.abs(values - median) / np.where(values > median, above, below)
        deviations[known] = np.maximum(deviations[known], scaled)
    lengths = np.sqrt(np.nansum(away**2, axis=1))
    usual = float(np.percentile(lengths, 95))
    return [
        Finding(
            case.id,
            name,
            "place",
            min(float(worst), MOST),
            f"lies {length:.0f} mm from where the other classes let it be expected, usually up to "
            f"{usual:.0f} mm",
        )
        for case, worst, length in zip(cases, deviations, lengths, strict=True)
    ]


def _expected(centers: Float64Array, column: int) -> Float64Array:
    """Where each case's other classes let one be expected, (case, 3); NaN where unknown."""
    steps = centers[:, column, None] - centers
    usual = _median(steps, axis=0, least=FEWEST_CASES)
    guesses = centers + usual
    guesses[:, column] = np.nan
    return _median(guesses, axis=1, least=2)


def _median(values: Float64Array, *, axis: int, least: int) -> Float64Array:
    """The median of what is known along an axis; NaN where less than ``least`` values are."""
    known = np.isfinite(values).sum(axis=axis)
    filled = np.where(np.expand_dims(known, axis) >= least, values, 0.0)
    median: Float64Array = np.nanmedian(filled, axis=axis)
    median[known < least] = np.nan
    return median


def _absent(cases: Sequence[CaseFacts], name: str, expected: Float64Array) -> list[Finding]:
    """The cases that lack a class which nearly all others have, with its place in view."""
    annotated = [case for case in cases if name in case.measures]
    sizes = [item.size_mm[2] for case in annotated if (item := case.measures[name]).size_mm]
    lacking = len(annotated) - len(sizes)
    if len(annotated) < FEWEST_CASES or not sizes or not lacking:
        return []
    others = (lacking - 1) / (len(annotated) - 1)
    margin = min(float(np.median(sizes)) / 2, _IN_VIEW_MM)
    found = []
    for case, place in zip(cases, expected, strict=True):
        if name not in case.measures or case.measures[name].voxels:
            continue
        height = float(place[2])
        # Its height is unknown where the image cuts it in all cases, as it does the aorta.
        if not (case.low_mm[2] + margin < height < case.high_mm[2] - margin or math.isnan(height)):
            continue
        text = f"is not there, although its place is in view; {others:.0%} of the others lack it"
        deviations = _ABSENT * max(0.0, 1 - others / _RARE)
        found.append(Finding(case.id, name, "absent", deviations, text))
    return found


def _sides(case: CaseFacts, taxonomy: Taxonomy) -> list[Finding]:
    """Organs on the wrong side of the body's middle, which the table's middle organs mark."""

    def right_mm(item: LabelClass) -> float | None:
        measures = case.measures.get(item.name)
        return measures.center_mm[0] if measures and measures.center_mm else None

    marks = [right_mm(item) for item in taxonomy if item.side == "middle"]
    middles = [x for x in marks if x is not None]
    if not middles:
        return []
    middle = float(np.mean(middles))
    found = []
    for item in taxonomy:
        x = right_mm(item)
        if x is None or item.side not in ("left", "right"):
            continue
        beyond = (x - middle) * (1 if item.side == "left" else -1)
        if beyond > BEYOND_MM:
            text = f"lies {beyond:.0f} mm on the other side of the body's middle"
            found.append(Finding(case.id, item.name, "side", _WRONG_SIDE, text))
    return found
