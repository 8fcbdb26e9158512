"""Ridge regression with weights that all organs share and deviations of each organ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnstudent.types import Float64Array, IndexArray

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
        for row, name in enumerate(names):
            if name in self.own:
                predicted[row] += centered[row] @ np.array(self.own[name])
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
    best: tuple[float, float, float, Float64Array] | None = None
    for penalty in PENALTIES:
        for share in SHARES:
            held = np.zeros(len(target))
            for k in range(folds):
                out = fold == k
                learned = out if folds == 1 else ~out
                one = _solve(names, values, target, learned, penalty=penalty, share=share)
                known = np.array([name in one.base for name in names])
                some = np.flatnonzero(out & known).tolist()
                held[some] = one([names[i] for i in some], values[some])
                held[out & ~known] = target[learned].mean()
            error = float(np.mean((held - target) ** 2))
            if best is None or error < best[0]:
                best = (error, penalty, share, held)
    if best is None:
        raise ValueError("no penalties to choose from")
    _, penalty, share, held = best
    everything = np.ones(len(target), bool)
    return _solve(names, values, target, everything, penalty=penalty, share=share), held


def _solve(
    names: Sequence[str],
    values: Float64Array,
    target: Float64Array,
    rows: np.typing.NDArray[np.bool_],
    *,
    penalty: float,
    share: float,
) -> Regression:
    """Ridge regression in its dual form, which has one unknown per row."""
    organ = np.array(names)[rows]
    center = values[rows].mean(axis=0)
    x, y = values[rows] - center, target[rows]
    overall = float(y.mean())
    base = {}
    for name in dict.fromkeys(organ.tolist()):
        own = y[organ == name]
        base[name] = float((own.sum() + overall) / (len(own) + 1))
    same = (organ[:, None] == organ[None, :]).astype(np.float64)
    # Each organ also has a free constant: its base is but where it begins.
    kernel = (x @ x.T) * (1 + share * same) + 10 * same
    rest = y - np.array([base[name] for name in organ])
    alpha = np.linalg.solve(kernel + penalty * np.eye(len(y)), rest)
    own_weights = {}
    for name in base:
        mine = organ == name
        base[name] = _short(base[name] + 10 * float(alpha[mine].sum()))
        if share:
            own_weights[name] = tuple(map(_short, share * (x[mine].T @ alpha[mine])))
    return Regression(
        base, tuple(map(_short, x.T @ alpha)), own_weights, tuple(map(_short, center))
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
