"""From measurements to the numbers that a regression sees: how unusual each of them is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnstudent.quality.features import NAN, CaseFeatures, OrganFeatures
from nnstudent.types import Float64Array

# What is compared with the same organ in other scans; each is turned into a standard score.
MEASURES = (
    "soft_dice",
    "confidence",
    "doubtful",
    "entropy",
    "edge_entropy",
    "agreement",
    "kept",
    "volume_ml",
    "pieces",
    "largest",
    "holes",
    "roughness",
    "contact",
    "mean_hu",
    "sd_hu",
)
_LOGARITHMIC = frozenset({"kept", "volume_ml", "pieces", "sd_hu"})
_UNUSUAL = ("volume_ml", "roughness", "contact", "mean_hu", "sd_hu")  # either way is a bad sign
# Also taken as they are: a fall means the same for every organ, also far from what is usual.
_ABSOLUTE = ("soft_dice", "confidence", "doubtful", "agreement")
_MOST = 5.0  # standard deviations; what is farther out tells no more
_LEAST_PLACE_MM = 4.0
BASIS = (
    *MEASURES,
    *(f"low {name}" for name in MEASURES),
    *(f"unusual {name}" for name in _UNUSUAL),
    *(f"absolute {name}" for name in _ABSOLUTE),
    "displaced",
    "touches_border",
    "rest of the scan",
    "worst of the scan",
    "slice_mm",
    "warnings",
)


@dataclass(frozen=True)
class OrganNorm:
    """What is usual of one organ.

    Attributes:
        mean: Mean of each of :data:`MEASURES`, of the logarithm of some.
        sd: Their standard deviations.
        place_mm: Where its centroid lies relative to the middle of all organs, towards right,
            front and head.
        place_sd_mm: Standard deviation of this along each direction.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    place_mm: tuple[float, float, float]
    place_sd_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Design:
    """The regression's view of one scan.

    Attributes:
        names: The organs, one per row.
        values: One column for each of :data:`BASIS`.
        novelty: How far each organ lies from what is usual: the root mean square of its standard
            scores.
    """

    names: tuple[str, ...]
    values: Float64Array
    novelty: Float64Array = field(default_factory=lambda: np.zeros(0))


def fit_norms(cases: Sequence[CaseFeatures], names: Sequence[str]) -> dict[str, OrganNorm]:
    """What is usual of each organ.

    Args:
        cases: Scans that represent others.
        names: The organs; those that are found in fewer than two scans are left out.
    """
    raw = {
        name: np.array([_measures(case.organs[name]) for case in cases if name in case.organs])
        for name in names
    }
    places = _relative_places(cases, names)
    norms = {}
    for name in names:
        if len(raw[name]) < 2:
            continue
        mean, sd = _mean(raw[name]), _deviation(raw[name])
        place, spread = _mean(places[name]), _deviation(places[name])
        spread = np.maximum(spread, _LEAST_PLACE_MM)
        norms[name] = OrganNorm(
            tuple(map(_short, mean)),
            tuple(map(_short, sd)),
            (_short(place[0]), _short(place[1]), _short(place[2])),
            (_short(spread[0]), _short(spread[1]), _short(spread[2])),
        )
    return norms


def design(case: CaseFeatures, norms: Mapping[str, OrganNorm]) -> Design:
    """The rows of one scan: one per organ that was found and of which it is known what is usual.

    Args:
        case: The scan.
        norms: What is usual of each organ.
    """
    names = tuple(name for name in case.organs if name in norms)
    if not names:
        return Design((), np.zeros((0, len(BASIS))))
    raw = np.array([_measures(case.organs[name]) for name in names])
    mean = np.array([norms[name].mean for name in names])
    sd = np.array([norms[name].sd for name in names])
    scores = np.nan_to_num((raw - mean) / sd, nan=0.0)
    wide = np.clip(scores, -2 * _MOST, 2 * _MOST)
    z = np.clip(scores, -_MOST, _MOST)
    displaced = displacement(case, norms)
    soft = z[:, MEASURES.index("soft_dice")]
    case_columns = [
        np.array([displaced[name] for name in names]),
        np.nan_to_num([case.organs[name].touches_border for name in names], nan=0.0),
        _rest(soft),
        np.full(len(names), soft.min()),
        np.full(len(names), min(case.slice_mm, 15.0) / 5 if case.slice_mm > 0 else 1.0),
        np.full(len(names), min(case.warnings, 3.0)),
    ]
    unusual = [np.abs(z[:, MEASURES.index(name)]) for name in _UNUSUAL]
    absolute = [
        10 * np.where(np.isfinite(column), column - mean[:, place], 0)
        for place, column in ((k, raw[:, k]) for k in map(MEASURES.index, _ABSOLUTE))
    ]
    values = np.column_stack([z, np.minimum(z + 0.5, 0), *unusual, *absolute, *case_columns])
    spread = np.column_stack([wide, case_columns[0]])
    return Design(names, values, np.sqrt((spread**2).mean(axis=1)))


def displacement(case: CaseFeatures, norms: Mapping[str, OrganNorm]) -> dict[str, float]:
    """How far each organ lies from its usual place beside the others, in standard deviations.

    The middle of the body is where most organs say that it is, so that one organ in the wrong
    place does not move it.
    """
    names = [name for name in case.organs if name in norms]
    middle = find_middle(case, norms)
    far = {}
    for name in names:
        place, norm = np.array(case.organs[name].place_mm), norms[name]
        away = (place - norm.place_mm - middle) / norm.place_sd_mm
        distance = float(np.sqrt(np.mean(away**2)))
        far[name] = min(distance, _MOST) if math.isfinite(distance) and len(names) > 2 else 1.0
    return far


def find_middle(case: CaseFeatures, norms: Mapping[str, OrganNorm]) -> Float64Array:
    """The middle of the body towards right, front and head in mm, where most organs have it."""
    guesses = [
        np.array(features.place_mm) - norms[name].place_mm
        for name, features in case.organs.items()
        if name in norms and not features.touches_border
    ] or [
        np.array(features.place_mm) - norms[name].place_mm
        for name, features in case.organs.items()
        if name in norms
    ]
    return np.asarray(np.median(guesses, axis=0) if guesses else np.full(3, NAN), np.float64)


def _measures(organ: OrganFeatures) -> list[float]:
    values = []
    for name in MEASURES:
        value = float(getattr(organ, name))
        values.append(math.log(max(value, 1e-3)) if name in _LOGARITHMIC else value)
    return values


def _relative_places(
    cases: Sequence[CaseFeatures], names: Sequence[str]
) -> dict[str, Float64Array]:
    """Centroids relative to the middle, found in turn with what is usual, in two rounds."""
    usual = {name: np.zeros(3) for name in names}
    places: dict[str, Float64Array] = {}
    for _ in range(3):
        found: dict[str, list[Float64Array]] = {name: [] for name in names}
        for case in cases:
            known = [name for name in names if name in case.organs]
            own = {name: np.array(case.organs[name].place_mm) for name in known}
            if not known:
                continue
            middle = np.median([own[name] - usual[name] for name in known], axis=0)
            for name in known:
                found[name].append(own[name] - middle)
        places = {name: np.array(found[name]).reshape(-1, 3) for name in names}
        usual = {
            name: np.median(places[name], axis=0) if len(places[name]) else np.zeros(3)
            for name in names
        }
    return places


def _rest(values: Float64Array) -> Float64Array:
    """The mean of all others."""
    if len(values) < 2:
        return values
    return np.asarray((values.sum() - values) / (len(values) - 1), np.float64)


def _mean(values: Float64Array) -> Float64Array:
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.asarray(total / np.maximum(known.sum(axis=0), 1), np.float64)


def _deviation(values: Float64Array) -> Float64Array:
    """Standard deviation of each column, and never so small that rounding looks unusual."""
    known = np.isfinite(values)
    centered = np.where(known, values - _mean(values), 0)
    variance = (centered**2).sum(axis=0) / np.maximum(known.sum(axis=0) - 1, 1)
    scale = np.maximum(np.abs(_mean(values)), 0.1)
    return np.asarray(np.maximum(np.sqrt(variance), 0.01 * scale), np.float64)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
