"""A lesion stage: lesions in and around their host organs.

Each host has its own threshold and least size of a lesion.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy

from nnstudent.bundle.spec import BACKGROUND, HostRule, NetworkSpec
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.types import Float32Array, Item, LabelArray
from nnstudent.volume import Spacing

# How far lesions reach beyond their host: they grow out of it, and the first stage may have
# segmented a host with a lesion too small.
REACH_MM = 12.0
TOUCHING = 0.5  # least share of a lesion that lies in its host or within _BESIDE_MM of it
_BESIDE_MM = 3.0
_NEVER = -20.0  # log odds of a lesion where there can be none
_NEIGHBORS = np.ones((3, 3, 3), bool)


def lesion_scores(
    scores: ClassScores,
    spec: NetworkSpec,
    *,
    organs: LabelArray,
    lesions: Collection[str],
    ids: Mapping[str, int],
) -> ClassScores:
    """Scores of lesions against everything else, shifted so that what is kept is above 0.

    Args:
        scores: Logits of the stage, of all its classes.
        spec: The stage; its ``hosts`` are the rules.
        organs: Labels of the networks before it, with ids of the label table, on the scores' grid.
        lesions: Which of its classes are lesions; they count as one.
        ids: Id of each organ.

    Returns:
        Scores of background and the lesion class.
    """
    alone = lesions_alone(scores, lesions)
    odds = alone.values[1]  # a view
    hosts = {ids[name]: rule for name, rule in spec.hosts.items()}
    odds[...] = threshold_by_host(odds, organs, hosts, spacing_mm=scores.spacing_mm)
    return alone


def lesions_alone(scores: ClassScores, lesions: Collection[str]) -> ClassScores:
    """Scores of lesions against everything else together.

    Args:
        scores: Logits of a network that knows organs too.
        lesions: Which of its classes are lesions; they count as one, the first.

    Returns:
        Scores of background and the lesion class: 0, and the logarithm of the odds.
    """
    channels = [channel for channel, name in enumerate(scores.classes) if name in lesions]
    odds = log_odds(scores.values, channels)
    return replace(
        scores,
        values=np.stack([np.zeros_like(odds), odds]),
        classes=(BACKGROUND, scores.classes[channels[0]]),
        ids=(0, scores.ids[channels[0]]),
    )


def log_odds(logits: Float32Array, channels: Collection[int]) -> Float32Array:
    """Logarithm of the odds of some channels, taken together, against all others.

    Args:
        logits: (class, z, y, x).
        channels: Indices of the channels.
    """
    odds = np.empty(logits.shape[1:], np.float32)
    own = sorted(channels)
    others = [channel for channel in range(len(logits)) if channel not in own]
    for z in range(logits.shape[1]):  # plane by plane, to need no temporary array as large
        odds[z] = _log_sum(logits[own, z]) - _log_sum(logits[others, z])
    return odds


def _log_sum(logits: Float32Array) -> Float32Array:
    top = logits.max(axis=0)
    total: Float32Array = top + np.log(np.exp(logits - top).sum(axis=0))
    return total


def threshold_by_host(
    odds: Float32Array, organs: LabelArray, hosts: Mapping[int, HostRule], *, spacing_mm: Spacing
) -> Float32Array:
    """Log odds minus each voxel's threshold, and far below 0 where nothing is kept.

    A voxel belongs to the nearest host within :data:`REACH_MM`, and a piece to the host of most of
    its voxels. A piece of which less than :data:`TOUCHING` lies in its host or right beside it is
    something else nearby, and left out.

    Args:
        odds: Log odds of a lesion, (z, y, x).
        organs: Ids of the organs, (z, y, x).
        hosts: The rule of each host, by id; other organs have no lesions.
        spacing_mm: Spacing, (z, y, x).
    """
    host, away = nearest_host(organs, list(hosts), spacing_mm=spacing_mm)
    thresholds = np.full(256, np.inf, np.float32)
    for id, rule in hosts.items():
        thresholds[id] = np.log(rule.threshold / (1 - rule.threshold))
    above: Float32Array = np.maximum(odds - thresholds[host], _NEVER)
    parts, _ = scipy.ndimage.label(above > 0, structure=_NEIGHBORS)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    for number, box in enumerate(scipy.ndimage.find_objects(parts), start=1):
        own = parts[box] == number
        rule = hosts[int(np.bincount(host[box][own]).argmax())]
        touching = float((away[box][own] <= _BESIDE_MM).mean())
        if own.sum() * voxel_ml < rule.least_ml or touching < TOUCHING:
            above[box][own] = _NEVER
    return above


def nearest_host(
    organs: LabelArray,
    hosts: Collection[int],
    *,
    spacing_mm: Spacing,
    reach_mm: float = REACH_MM,
) -> tuple[LabelArray, Float32Array]:
    """The nearest host of each voxel, and its distance.

    Args:
        organs: Ids of the organs, (z, y, x).
        hosts: Which of them are hosts.
        spacing_mm: Spacing, (z, y, x).
        reach_mm: How far a host reaches beyond its border, in mm.

    Returns:
        Ids of the hosts, 0 where none is within reach, and distances in mm; both (z, y, x).
    """
    inside = np.isin(organs, list(hosts))
    if not inside.any():
        return np.zeros_like(organs), np.full(organs.shape, np.inf, np.float32)
    away, (z, y, x) = scipy.ndimage.distance_transform_edt(
        ~inside, sampling=spacing_mm, return_indices=True
    )
    found: LabelArray = np.where(away <= reach_mm, organs[z, y, x], 0).astype(np.uint8)
    return found, away.astype(np.float32)


def labels_on_network_grid(labels: npt.NDArray[Item], frame: Frame) -> npt.NDArray[Item]:
    """Labels on the network's grid, by the nearest voxel.

    Args:
        labels: Labels on the grid of the image that was preprocessed, (z, y, x).
        frame: How the network's grid lies in that image.
    """
    own = frame.view(labels)
    at = [
        np.minimum(((np.arange(n) + 0.5) * have / n).astype(int), have - 1)
        for n, have in zip(frame.shape, own.shape, strict=True)
    ]
    taken: npt.NDArray[Item] = own[np.ix_(*at)]
    return taken
