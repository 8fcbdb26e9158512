"""The folds of a teacher as an ensemble on a torch device: what :mod:`.ensemble` does with numpy.

The same sums, in single precision; the labels may differ where two classes are equally probable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from nnstudent.pseudo.ensemble import (
    MIN_THRESHOLD,
    RELEVANT,
    DecisionRule,
    EnsemblePrediction,
    check_channels,
    no_fold,
)

_PLANES = 8  # whose probabilities are computed at once


def combine_on_device(
    folds: Iterable[Any],
    labels: Sequence[int],
    *,
    lesions: Collection[int] = (),
    decision: DecisionRule = "argmax",
) -> EnsemblePrediction:
    """Average the folds' probabilities and measure how well the folds agree.

    Args:
        folds: Logits of each fold, (class, z, y, x), tensors on the device. They are overwritten.
        labels: For each channel, the label that it stands for, 0 for background.
        lesions: Which of the labels are lesions.
        decision: How each fold alone chooses its label of a voxel.

    Raises:
        InputError: There is no fold, or the channels of a fold are not those of ``labels``.
    """
    import torch  # only torch engines come here

    total: Any = None
    predicted: list[Any] = []
    with torch.inference_mode():
        for scores in folds:
            check_channels(scores.shape[0], labels)
            _softmax(scores)
            table = torch.tensor(labels, dtype=torch.uint8, device=scores.device)
            predicted.append(table[_best_channel(scores, labels, decision)])
            total = scores.clone() if total is None else total.add_(scores)
        if total is None:
            raise no_fold()
        total /= len(predicted)
        votes = None
        if lesions:
            wanted = torch.tensor(sorted(lesions), dtype=torch.uint8, device=total.device)
            votes = (
                sum(torch.isin(item, wanted).to(torch.uint8) for item in predicted).cpu().numpy()
            )
        return EnsemblePrediction(total.cpu().numpy(), _agreement(predicted), len(predicted), votes)


def _softmax(logits: Any) -> None:
    """Turn logits into probabilities in place, in slabs: there is no room for another array."""
    for first in range(0, logits.shape[1], _PLANES):
        part = logits[:, first : first + _PLANES]
        part.copy_(part.softmax(dim=0))


def _best_channel(scores: Any, labels: Sequence[int], decision: DecisionRule) -> Any:
    import torch

    weights = _dice_weights(scores, labels) if decision == "dice" else None
    planes = []
    for first in range(0, scores.shape[1], _PLANES):
        part = scores[:, first : first + _PLANES]
        planes.append((part if weights is None else part * weights).argmax(dim=0))
    return torch.cat(planes)


def _dice_weights(mean: Any, labels: Sequence[int]) -> Any:
    """See :func:`~nnstudent.pseudo.ensemble.dice_weights`; (class, 1, 1, 1)."""
    import torch

    weights = torch.ones(len(labels), device=mean.device)
    for label in set(labels) - {0}:
        channels = [channel for channel, meant in enumerate(labels) if meant == label]
        probability = mean[channels].sum(dim=0)
        ranked = probability[probability > RELEVANT].double().sort(descending=True).values
        if len(ranked):
            mass = ranked.cumsum(0)
            sizes = torch.arange(1, len(mass) + 1, device=mean.device)
            threshold = max(float((mass / (sizes + mass[-1])).max()), MIN_THRESHOLD)
            weights[channels] = (1 - threshold) / threshold
    return weights[:, None, None, None]


def _agreement(folds: Sequence[Any]) -> dict[int, float]:
    """See :func:`~nnstudent.pseudo.ensemble.fold_agreement`."""
    import torch

    if len(folds) < 2:
        return {}
    sizes = [torch.bincount(item.flatten().int(), minlength=256).cpu().numpy() for item in folds]
    present = [int(id) for id in np.flatnonzero(sum(sizes)) if id]
    pairs = []
    for a, b in combinations(range(len(folds)), 2):
        same = folds[a][folds[a] == folds[b]].int()
        both = torch.bincount(same, minlength=256).cpu().numpy()
        whole = sizes[a] + sizes[b]
        pairs.append(np.where(whole > 0, 2 * both / np.maximum(whole, 1), 1.0))
    mean = np.mean(pairs, axis=0)
    return {id: float(mean[id]) for id in present}
