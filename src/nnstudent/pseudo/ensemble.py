"""What an ensemble's folds say together: their mean, how well they agree, and what label follows. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError

Decision = Literal["argmax", "dice"]  # the most probable label, or that of the best expected Dice
Labels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.floating]
LEAST = 0.25  # the least threshold of a label against background


@dataclass(frozen=True, eq=False)
class Verdict:
    """The folds' common word, on the model's grid.

    Attributes:
        mean: Mean of the folds' class probabilities, (class, z, y, x), float32.
        agreement: For each label that a fold found, the mean DSC over pairs of folds; empty with a single fold.
        folds: How many there were.
    """

    mean: npt.NDArray[np.float32]
    agreement: dict[int, float]
    folds: int


def combine(
    members: Iterable[Scores], labels: Sequence[int], *, decision: Decision = "argmax"
) -> Verdict:
    """Average the folds' probabilities and measure how well they agree.

    One member at a time is held beside the running sum, so that an iterator of members keeps the memory at two of them.

    Args:
        members: Softmax probabilities of each fold, (class, z, y, x).
        labels: For each channel the label that it stands for, 0 for background; several channels may share one.
        decision: Which label each fold by itself gives a voxel, of which the agreement is measured.

    Raises:
        InputError: There is no member, or a member's channels are not those of ``labels``.
    """
    table = np.array(labels, np.uint8)
    total: npt.NDArray[np.float32] | None = None
    said: list[Labels] = []
    for scores in members:
        if scores.shape[0] != len(table):
            raise InputError(
                f"the model gives {scores.shape[0]} channels, its dataset.json names {len(table)}; the folder is not one model"
            )
        said.append(table[_best(scores, labels, decision)])
        if total is None:
            total = scores.astype(np.float32)
        else:
            total += scores
    if total is None:
        raise InputError(
            "an ensemble without folds; expected at least one fold_K folder with a checkpoint"
        )
    total /= len(said)
    return Verdict(total, agreement(said), len(said))


def _best(scores: Scores, labels: Sequence[int], decision: Decision) -> npt.NDArray[np.intp]:
    """The channel of each voxel by :func:`weighted`; slice by slice, for the product would be another array as large as the scores."""
    if decision == "argmax":
        most: npt.NDArray[np.intp] = np.argmax(scores, axis=0)
        return most
    factors = dice_weights(scores, labels)[:, None, None]
    return np.stack([np.argmax(scores[:, z] * factors, axis=0) for z in range(scores.shape[1])])


def weighted(scores: Scores, labels: Sequence[int], decision: Decision) -> Scores:
    """Class probabilities, (class, z, y, x), with factors under which the largest one decides; see :func:`dice_weights`."""
    return (
        scores
        if decision == "argmax"
        else scores * dice_weights(scores, labels)[:, None, None, None]
    )


def dice_weights(mean: Scores, labels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Factors on the probabilities of the channels, under which the highest product marks what is expected to have the best Dice.

    Where folds agree on a thin or small organ but not on its voxels, no class but background reaches the majority, and the most probable
    label loses half of the organ. The Dice expected of the k most probable voxels of a label is about 2·Σp(those) / (k + Σp(all)); where
    its maximum over k is D, just the voxels with p > D/2 belong to it (Lipton, Elkan and Naryanaswamy, "Optimal thresholding of
    classifiers to maximize F1 measure", 2014). With the factor (1 − D/2) / (D/2), and 1 for the background, a voxel that only these two
    contend for gets the label there, and among several labels the one that is furthest over its threshold, or least under it. No
    threshold is under 0.25: where nothing better than a Dice of 0.5 can be expected, the organ may as well be absent.

    Args:
        mean: Mean of the folds' class probabilities, (class, z, y, x).
        labels: For each channel the label that it stands for, 0 for background.

    Returns:
        Of each channel, at least 1, float32.
    """
    weights = np.ones(len(mean), np.float32)
    for label in set(labels) - {0}:
        channels = [channel for channel, meant in enumerate(labels) if meant == label]
        probability = mean[channels].sum(axis=0)
        ranked = np.sort(probability[probability > 0.01].astype(np.float64))[
            ::-1
        ]  # less adds to no sum
        if len(ranked):
            mass = np.cumsum(ranked)
            threshold = float(
                np.max(mass / (np.arange(1, len(mass) + 1) + mass[-1]))
            )  # half of the best Dice
            threshold = max(threshold, LEAST)
            weights[channels] = (1 - threshold) / threshold
    return weights


def confidence(
    mean: npt.NDArray[np.float32], best: npt.NDArray[np.intp], labels: Sequence[int]
) -> dict[int, float]:
    """Mean probability of each label over the voxels that were given it, background left out.

    Args:
        mean: Mean of the folds' class probabilities, (class, z, y, x).
        best: The channel that each voxel was given, (z, y, x).
        labels: For each channel the label that it stands for, 0 for background.

    Returns:
        Label → 0 to 1, for every label that a voxel was given.
    """
    given = np.array(labels, np.uint8)[best].ravel()
    size = np.bincount(given, minlength=256)
    mass = np.bincount(
        given, weights=np.take_along_axis(mean, best[None], axis=0).ravel(), minlength=256
    )
    return {int(id): float(mass[id] / size[id]) for id in np.flatnonzero(size) if id}


def agreement(members: Sequence[Labels]) -> dict[int, float]:
    """Mean DSC of each label over all pairs of label maps; a pair in which neither has it agrees wholly.

    Args:
        members: Label maps on one grid, (z, y, x).

    Returns:
        Label → 0 to 1, for every label that a map has; empty for fewer than two maps.
    """
    if len(members) < 2:
        return {}
    sizes = [np.bincount(item.ravel(), minlength=256) for item in members]
    present = [int(id) for id in np.flatnonzero(sum(sizes)) if id]
    pairs = []
    for a, b in combinations(range(len(members)), 2):
        both = np.bincount(members[a][members[a] == members[b]], minlength=256)
        whole = sizes[a] + sizes[b]
        pairs.append(np.where(whole > 0, 2 * both / np.maximum(whole, 1), 1.0))
    mean = np.mean(pairs, axis=0)
    return {id: float(mean[id]) for id in present}
