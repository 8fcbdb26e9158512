"""The folds of a teacher as an ensemble.

Pure functions on arrays: the mean of the folds, how well they agree, and the label that follows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError
from nnstudent.types import Float32Array, IndexArray, LabelArray

DecisionRule = Literal["argmax", "dice"]  # most probable label, or best expected Dice
Scores = npt.NDArray[np.floating]
RELEVANT = 0.01  # probabilities below it change no sum
MIN_THRESHOLD = 0.25  # lowest probability at which a label is chosen over background


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """What the folds predict together, on the model's grid.

    Attributes:
        mean: Mean of the folds' class probabilities, (class, z, y, x), float32.
        agreement: For each label that a fold found, the mean DSC between pairs of folds, 0 to 1;
            empty if there is only one fold.
        folds: Number of folds.
        lesions: Number of folds that see a lesion in each voxel, (z, y, x), uint8; None if there is
            no lesion class.
    """

    mean: Float32Array
    agreement: dict[int, float]
    folds: int
    lesions: LabelArray | None = None


def combine_folds(
    folds: Iterable[Scores],
    labels: Sequence[int],
    *,
    lesions: Collection[int] = (),
    decision: DecisionRule = "argmax",
) -> EnsemblePrediction:
    """Average the folds' probabilities and measure how well the folds agree.

    Only one fold is held beside the running sum, so that an iterator keeps memory at two of them.

    Args:
        folds: Softmax probabilities of each fold, (class, z, y, x).
        labels: For each channel, the label that it stands for, 0 for background; several channels
            may share one.
        lesions: Which of the labels are lesions.
        decision: How each fold alone chooses its label of a voxel; agreement is measured on these.

    Raises:
        InputError: There is no fold, or the channels of a fold are not those of ``labels``.
    """
    table = np.array(labels, np.uint8)
    total: Float32Array | None = None
    predicted: list[LabelArray] = []
    for scores in folds:
        check_channels(scores.shape[0], labels)
        predicted.append(table[_best_channel(scores, labels, decision)])
        if total is None:
            total = scores.astype(np.float32)
        else:
            total += scores
    if total is None:
        raise no_fold()
    total /= len(predicted)
    votes: LabelArray | None = None
    if lesions:
        seen = [np.isin(item, list(lesions)) for item in predicted]
        votes = np.sum(seen, axis=0, dtype=np.uint8)
    return EnsemblePrediction(total, fold_agreement(predicted), len(predicted), votes)


def check_channels(given: int, labels: Sequence[int]) -> None:
    """Refuse a fold whose channels are not those of the model.

    Raises:
        InputError: The numbers differ.
    """
    if given != len(labels):
        raise InputError(
            f"the model gives {given} channels, its dataset.json names {len(labels)}; "
            "the folder is not one model"
        )


def no_fold() -> InputError:
    """The error for an ensemble that has no fold."""
    return InputError(
        "an ensemble without folds; expected at least one fold_K folder with a checkpoint"
    )


def _best_channel(scores: Scores, labels: Sequence[int], decision: DecisionRule) -> IndexArray:
    """Return the channel that :func:`apply_decision` gives each voxel, (z, y, x).

    Works slice by slice, because the product would be another array as large as the scores.
    """
    if decision == "argmax":
        best: IndexArray = np.argmax(scores, axis=0)
        return best
    factors = dice_weights(scores, labels)[:, None, None]
    return np.stack([np.argmax(scores[:, z] * factors, axis=0) for z in range(scores.shape[1])])


def apply_decision(scores: Scores, labels: Sequence[int], *, decision: DecisionRule) -> Scores:
    """Scale class probabilities so that the largest is the class to choose.

    Args:
        scores: Class probabilities, (class, z, y, x).
        labels: For each channel, the label that it stands for, 0 for background.
        decision: How the label of a voxel is chosen.

    Returns:
        The scores themselves for ``argmax``, otherwise times :func:`dice_weights`.
    """
    if decision == "argmax":
        return scores
    return scores * dice_weights(scores, labels)[:, None, None, None]


def dice_weights(mean: Scores, labels: Sequence[int]) -> Float32Array:
    """Compute factors on the probabilities with which the largest has the best expected Dice.

    Where folds agree on a thin or small organ but not on its voxels, only background reaches a
    majority, and the most probable label loses half of the organ. The expected Dice of the k most
    probable voxels of a label is about 2·Σp(those) / (k + Σp(all)). If its maximum over k is D, the
    best set is the voxels with p > D/2 (Lipton, Elkan and Naryanaswamy, "Optimal thresholding of
    classifiers to maximize F1 measure", 2014). With the factor (1 − D/2) / (D/2) for the label and
    1 for background, a voxel that only these two compete for gets the label exactly there; among
    several labels it gets the one whose threshold it exceeds most, or misses least. No threshold is
    below 0.25: if no Dice above 0.5 can be expected, the organ may as well be absent.

    Args:
        mean: Mean of the folds' class probabilities, (class, z, y, x).
        labels: For each channel, the label that it stands for, 0 for background.

    Returns:
        A factor of at least 1 for each channel, (class,), float32.
    """
    weights = np.ones(len(mean), np.float32)
    for label in set(labels) - {0}:
        channels = [channel for channel, meant in enumerate(labels) if meant == label]
        probability = mean[channels].sum(axis=0)
        relevant = probability[probability > RELEVANT]
        ranked = np.sort(relevant.astype(np.float64))[::-1]
        if len(ranked):
            mass = np.cumsum(ranked)
            half_dice = mass / (np.arange(1, len(mass) + 1) + mass[-1])
            threshold = max(float(np.max(half_dice)), MIN_THRESHOLD)
            weights[channels] = (1 - threshold) / threshold
    return weights


def class_confidence(
    mean: Float32Array, chosen: IndexArray, *, labels: Sequence[int]
) -> dict[int, float]:
    """Compute the mean probability of each label over its own voxels, background left out.

    Args:
        mean: Mean of the folds' class probabilities, (class, z, y, x).
        chosen: Channel of each voxel, (z, y, x).
        labels: For each channel, the label that it stands for, 0 for background.

    Returns:
        Label → 0 to 1, for every label that a voxel has.
    """
    label = np.array(labels, np.uint8)[chosen].ravel()
    size = np.bincount(label, minlength=256)
    mass = np.bincount(
        label, weights=np.take_along_axis(mean, chosen[None], axis=0).ravel(), minlength=256
    )
    return {int(id): float(mass[id] / size[id]) for id in np.flatnonzero(size) if id}


def fold_agreement(folds: Sequence[LabelArray]) -> dict[int, float]:
    """Compute the mean DSC of each label over all pairs of label maps.

    A pair in which neither map has the label counts as full agreement.

    Args:
        folds: Label maps on one grid, (z, y, x).

    Returns:
        Label → 0 to 1, for every label in a map; empty for fewer than two maps.
    """
    if len(folds) < 2:
        return {}
    sizes = [np.bincount(item.ravel(), minlength=256) for item in folds]
    present = [int(id) for id in np.flatnonzero(sum(sizes)) if id]
    pairs = []
    for a, b in combinations(range(len(folds)), 2):
        both = np.bincount(folds[a][folds[a] == folds[b]], minlength=256)
        whole = sizes[a] + sizes[b]
        pairs.append(np.where(whole > 0, 2 * both / np.maximum(whole, 1), 1.0))
    mean = np.mean(pairs, axis=0)
    return {id: float(mean[id]) for id in present}
