"""Which scans a person should correct next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

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


@dataclass(frozen=True)
class _Question:
    """What is asked of a strategy.

    Attributes:
        candidates: The scans to choose from.
        count: How many are wanted; a strategy may return more.
        corrected: The scans that were corrected before.
        rng: For what is drawn at random.
    """

    candidates: Sequence[Candidate]
    count: int
    corrected: Sequence[Candidate]
    rng: np.random.Generator


Strategy = Callable[[_Question], list[int]]


def choose_next(
    candidates: Sequence[Candidate],
    count: int,
    *,
    strategy: str,
    corrected: Sequence[Candidate] = (),
    seed: int = 0,
) -> tuple[str, ...]:
    """Choose the scans to correct next.

    Args:
        candidates: The scans to choose from.
        count: How many; all if there are fewer.
        strategy: ``quality``, the lowest expected Dice; ``uncertainty``, each organ in turn the
            scan in which it is least confident, so that small organs are not forgotten;
            ``diversity``, scans that look unlike those already chosen; ``random-foreground``, a
            scan at random in which an organ drawn at random was found; or ``random``. With the
            last two the others are to be compared.
        corrected: The scans that were corrected before: the next are to look unlike them too, and
            the turn of the organs goes on after as many.
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
    asked = _Question(candidates, count, corrected, np.random.default_rng(seed))
    order = STRATEGIES[strategy](asked)
    return tuple(candidates[index].id for index in order[:count])


def _by_quality(asked: _Question) -> list[int]:
    worst = [min(item.expected_dice.values(), default=math.inf) for item in asked.candidates]
    if worst and min(worst) == math.inf:
        raise InputError(
            "no scan has an expected Dice, which strategy quality sorts by; calibrate the model "
            "with nnstudent qc --calibrate, or choose uncertainty"
        )
    return [int(index) for index in np.argsort(worst, kind="stable")]


def _by_uncertainty(asked: _Question) -> list[int]:
    """Each organ in turn; the one that is least confident at its worst goes first."""
    candidates = asked.candidates
    queues = _queues(candidates, lambda name, index: candidates[index].confidence[name])
    organs = sorted(queues, key=lambda name: candidates[queues[name][0]].confidence[name])
    return _in_turn([queues[name] for name in organs], asked)


def _at_random_foreground(asked: _Question) -> list[int]:
    """Each organ in turn, in an order drawn at random, some scan in which it was found."""
    queues = _queues(asked.candidates, lambda name, index: float(asked.rng.random()))
    organs = sorted(queues)
    drawn = [organs[index] for index in asked.rng.permutation(len(organs))]
    return _in_turn([queues[name] for name in drawn], replace(asked, corrected=()))


def _queues(
    candidates: Sequence[Candidate], key: Callable[[str, int], float]
) -> dict[str, list[int]]:
    """For each organ the scans in which it was found, in the order of a key."""
    queues = {}
    for name in sorted({name for item in candidates for name in item.confidence}):
        found = [index for index, item in enumerate(candidates) if name in item.confidence]
        queues[name] = sorted(found, key=partial(key, name))
    return queues


def _in_turn(queues: Sequence[Sequence[int]], asked: _Question) -> list[int]:
    """Take the first of each queue, then the second, and so on; none twice."""
    start = len(asked.corrected) % max(len(queues), 1)
    chosen: dict[int, None] = {}
    for place in range(len(asked.candidates)):
        for queue in (*queues[start:], *queues[:start]):
            if place < len(queue):
                chosen.setdefault(queue[place])
    chosen.update(dict.fromkeys(range(len(asked.candidates))))
    return list(chosen)


def _by_diversity(asked: _Question) -> list[int]:
    """Always take what is farthest from all taken so far; begin in the middle."""
    number = len(asked.candidates)
    if not number:
        return []
    values = _standardized([*asked.candidates, *asked.corrected])
    chosen: list[int] = []
    taken = list(range(number, len(values)))
    while len(chosen) < min(asked.count, number):
        if taken:
            away = np.min([((values - values[k]) ** 2).sum(axis=1) for k in taken], axis=0)
        else:
            away = -(values**2).sum(axis=1)
        away = away[:number]
        away[chosen] = -np.inf
        chosen.append(int(away.argmax()))
        taken.append(chosen[-1])
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


def _at_random(asked: _Question) -> list[int]:
    return [int(index) for index in asked.rng.permutation(len(asked.candidates))]


STRATEGIES: dict[str, Strategy] = dict(
    zip(
        NAMES,
        (_by_quality, _by_uncertainty, _by_diversity, _at_random_foreground, _at_random),
        strict=True,
    )
)
