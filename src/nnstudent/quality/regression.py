"""Ridge regression with weights that all organs share and deviations of each organ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnstudent.types import Float64Array, IndexArray, MaskArray

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
SHARES = (0.0, 0.1, 0.5)  # how freely an organ's weights differ from the shared ones
_FOLDS = 5


@dataclass(frozen=True)
class Regression:
    """A linear prediction.

    Attributes:
        base: Mean of each organ.
        shared: A weight per column, for all organs.
        own: What an organ's weights are above the shared ones; an organ without an entry has none.
        center: Mean of each column, at which the prediction is ``base``.
    """

    base: Mapping[str, float]
    shared: tuple[float, ...]
    own: Mapping[str, tuple[float, ...]]
    center: tuple[float, ...]

    def __call__(self, names: Sequence[str], values: Float64Array) -> Float64Array:
        """Predict one number per row; every name must have a base."""
        centered = values - np.array(self.center)
        predicted = centered @ np.array(self.shared) + np.array([self.base[n] for n in names])
        organ = np.array(names)
        for name, own in self.own.items():
            predicted[organ == name] += centered[organ == name] @ np.array(own)
        return np.asarray(predicted, np.float64)


def fit(
    names: Sequence[str], values: Float64Array, target: Float64Array, cases: IndexArray
) -> tuple[Regression, Float64Array]:
    """Fit a regression; its penalties are chosen by leaving groups of cases out.

    Args:
        names: The organ of each row.
        values: Columns of each row.
        target: What is to be predicted.
        cases: Which case each row belongs to.

    Returns:
        The regression, and what each row would be predicted without its case.
    """
    different = np.unique(cases)
    folds = min(_FOLDS, len(different))
    group = {case: k % folds for k, case in enumerate(different)} if folds > 1 else {}
    fold = np.array([group.get(case, 0) for case in cases])
    parts = []
    for k in range(folds):
        part, out = _Part.of(names, values, target, (fold != k) | (folds == 1)), fold == k
        known = np.array([name in part.base for name in names])
        parts.append((part, np.flatnonzero(out & known).tolist(), out & ~known))
    best: tuple[float, float, float, Float64Array] | None = None
    for penalty in PENALTIES:
        for share in SHARES:
            held = np.zeros(len(target))
            for part, some, others in parts:
                one = part.solve(penalty=penalty, share=share)
                held[some] = one([names[i] for i in some], values[some])
                held[others] = part.mean
            error = float(np.mean((held - target) ** 2))
            if best is None or error < best[0]:
                best = (error, penalty, share, held)
    if best is None:
        raise ValueError("no penalties to choose from")
    _, penalty, share, held = best
    everything = _Part.of(names, values, target, np.ones(len(target), bool))
    return everything.solve(penalty=penalty, share=share), held


@dataclass(frozen=True)
class _Part:
    """What a ridge regression needs to know of the rows that it learns from.

    It has one unknown per column, one per column and organ, and a constant per organ; so its
    equations do not grow with the rows.

    Attributes:
        base: Mean of each organ, drawn towards that of all.
        center: Mean of each column.
        mean: Mean of the target.
        moments: Of each organ, the products of its columns and a one, and with the target.
    """

    base: Mapping[str, float]
    center: Float64Array
    mean: float
    moments: Mapping[str, tuple[Float64Array, Float64Array]]

    @staticmethod
    def of(
        names: Sequence[str], values: Float64Array, target: Float64Array, rows: MaskArray
    ) -> _Part:
        organ = np.array(names)[rows]
        center, overall = values[rows].mean(axis=0), float(target[rows].mean())
        base, moments = {}, {}
        for name in dict.fromkeys(organ.tolist()):
            own = target[rows][organ == name]
            base[name] = float((own.sum() + overall) / (len(own) + 1))
            x = np.column_stack([values[rows][organ == name] - center, np.ones(len(own))])
            moments[name] = x.T @ x, x.T @ (own - base[name])
        return _Part(base, center, overall, moments)

    def solve(self, *, penalty: float, share: float) -> Regression:
        """The weights that the penalty leaves; an organ's own ones are ``share`` as free."""
        count = len(self.center)
        products, with_target = map(np.array, zip(*self.moments.values(), strict=True))
        # Each organ also has a free constant: its base is but where it begins.
        scale = np.append(np.full(count, np.sqrt(share)), np.sqrt(10.0))
        # An organ's own unknowns meet only the shared ones, and are eliminated organ by organ.
        own = scale[:, None] * products * scale + penalty * np.eye(count + 1)
        mixed = scale[:, None] * products[:, :, :count]
        solved = np.linalg.solve(own, np.dstack([mixed, scale * with_target]))
        rest = np.dstack([products[:, :count, :count], with_target[:, :count]])
        rest = (rest - mixed.transpose(0, 2, 1) @ solved).sum(axis=0)
        shared = np.linalg.solve(rest[:, :count] + penalty * np.eye(count), rest[:, count])
        deviations = (solved[:, :, count] - solved[:, :, :count] @ shared) * scale
        base, own_weights = {}, {}
        for name, (*weights, constant) in zip(self.moments, deviations.tolist(), strict=True):
            base[name] = _short(self.base[name] + constant)
            if share:
                own_weights[name] = tuple(map(_short, weights))
        return Regression(
            base, tuple(map(_short, shared)), own_weights, tuple(map(_short, self.center))
        )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
