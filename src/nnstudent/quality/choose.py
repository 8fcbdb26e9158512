"""Which scans a person should correct next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnstudent.choices import STRATEGIES as NAMES
from nnstudent.errors import InputError
from nnstudent.types import Float64Array


@dataclass(frozen=True)
class Candidate:
    """A segmented scan that nobody has corrected.

    Attributes:
        id: Name of the case.
        confidence: Mean confidence of each organ found, by name.
        expected_dice: Expected Dice of each organ found, by name; empty without a calibration.
        measures: What the scan looks like, any numbers by name; for ``diversity``.
    """

    id: str
    confidence: Mapping[str, float] = field(default_factory=dict)
    expected_dice: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


Strategy = Callable[[Sequence[Candidate], int, np.random.Generator], list[int]]


def choose_next(
    candidates: Sequence[Candidate], count: int, *, strategy: str, seed: int = 0
) -> tuple[str, ...]:
    """Choose the scans to correct next.

    Args:
        candidates: The scans to choose from.
        count: How many; all if there are fewer.
        strategy: ``quality``, the lowest expected Dice; ``uncertainty``, each organ in turn the
            scan in which it is least confident, so that small organs are not forgotten;
            ``diversity``, scans that look unlike those already chosen; or ``random``, with which
            the others are to be compared.
        seed: Of what is drawn at random.

    Returns:
        The names of the cases, the most urgent first.

    Raises:
        InputError: There is no such strategy, ``count`` is below 1, or no candidate has what the
            strategy needs.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy {strategy!r}; expected one of {', '.join(STRATEGIES)}")
    if count < 1:
        raise InputError(f"{count} scans to correct next; expected at least 1")
    order = STRATEGIES[strategy](candidates, count, np.random.default_rng(seed))
    return tuple(candidates[index].id for index in order[:count])


def _by_quality(candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> list[int]:
    worst = [min(item.expected_dice.values(), default=math.inf) for item in candidates]
    if candidates and min(worst) == math.inf:
        raise InputError(
            "no scan has an expected Dice, which strategy quality sorts by; calibrate the model "
            "with nnstudent qc --calibrate, or choose uncertainty"
        )
    return [int(index) for index in np.argsort(worst, kind="stable")]


def _by_uncertainty(
    candidates: Sequence[Candidate], count: int, rng: np.random.Generator
) -> list[int]:
    organs = sorted({name for item in candidates for name in item.confidence})
    queues = [
        sorted(
            (index for index, item in enumerate(candidates) if name in item.confidence),
            key=lambda index: candidates[index].confidence[name],
        )
        for name in organs
    ]
    # The organ that is least confident at its worst goes first.
    names = dict(zip(organs, queues, strict=True))
    organs.sort(key=lambda name: candidates[names[name][0]].confidence[name])
    chosen: list[int] = []
    for place in range(len(candidates)):
        for name in organs:
            if place < len(names[name]) and names[name][place] not in chosen:
                chosen.append(names[name][place])
    return [*chosen, *(k for k in range(len(candidates)) if k not in chosen)]


def _by_diversity(
    candidates: Sequence[Candidate], count: int, rng: np.random.Generator
) -> list[int]:
    """Begin in the middle, then always take what is farthest from all taken so far."""
    if not candidates:
        return []
    values = _standardized(candidates)
    chosen = [int((values**2).sum(axis=1).argmin())]
    while len(chosen) < min(count, len(candidates)):
        away = np.min([((values - values[k]) ** 2).sum(axis=1) for k in chosen], axis=0)
        away[chosen] = -1
        chosen.append(int(away.argmax()))
    return chosen


def _standardized(candidates: Sequence[Candidate]) -> Float64Array:
    names = sorted({name for item in candidates for name in item.measures})
    values = np.array([[item.measures.get(name, np.nan) for name in names] for item in candidates])
    values = values.reshape(len(candidates), len(names))
    known = np.isfinite(values)
    number = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / number
    centered = np.where(known, values - mean, 0)
    spread = np.sqrt((centered**2).sum(axis=0) / number)
    return np.asarray(np.clip(centered / np.maximum(spread, 1e-9), -3, 3), np.float64)


def _at_random(candidates: Sequence[Candidate], count: int, rng: np.random.Generator) -> list[int]:
    return [int(index) for index in rng.permutation(len(candidates))]


STRATEGIES: dict[str, Strategy] = dict(
    zip(NAMES, (_by_quality, _by_uncertainty, _by_diversity, _at_random), strict=True)
)
