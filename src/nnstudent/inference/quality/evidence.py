"""What a network's scores say about its own labels, summed slab by slab."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nnstudent.inference.labels.scores import ClassScores, best_channel
from nnstudent.types import Float32Array, LabelArray

DOUBTFUL = 0.75  # a voxel with less is doubtful
_CERTAIN = 9.0  # logits by which background leads where no class has a ten-thousandth


class Evidence:
    """Sums over the voxels of a network's grid, one entry per channel.

    Attributes:
        voxels: Number of each channel's own voxels.
        own: Sum of the channel's probability over its own voxels.
        everywhere: Sum of its probability over all voxels.
        doubtful: Number of its own voxels with a probability below :data:`DOUBTFUL`.
        entropy: Sum of the entropy of its probability over its own voxels, in bits.
        edge: Number of its own voxels beside another label in the plane.
        edge_entropy: Sum of the entropy over these.
        both: Number of compared voxels that overlapping windows both give the channel.
        either: Sum of the numbers that each of them gives it.
    """

    def __init__(self, channels: int) -> None:
        self.voxels, self.own, self.everywhere, self.doubtful = np.zeros((4, channels))
        self.entropy, self.edge, self.edge_entropy = np.zeros((3, channels))
        self.both, self.either = np.zeros((2, channels))

    def add(self, scores: ClassScores) -> None:
        """Add the scores of a slab; the plane that slabs share is counted once.

        Args:
            scores: All scores, or a slab of them.
        """
        values = scores.values[:, 1:] if scores.first else scores.values
        channels = len(self.voxels)
        for z, channel in enumerate(best_channel(values, regions=scores.regions)):
            open_ = _open(values[:, z], channel, scores=scores)
            if not open_.any():
                continue
            probability = _probabilities(values[:, z, open_], scores=scores)
            self.everywhere += probability.sum(axis=1, dtype=np.float64)
            inside = channel[open_] > 0
            own_channel = channel[open_][inside]
            own = np.take_along_axis(probability[:, inside], own_channel[np.newaxis], axis=0)[0]
            entropy = _entropy(own)
            edge = _edge(channel)[open_][inside]
            for sums, weights in (
                (self.voxels, None),
                (self.own, own),
                (self.doubtful, own < DOUBTFUL),
                (self.entropy, entropy),
                (self.edge, edge),
                (self.edge_entropy, entropy * edge),
            ):
                sums += np.bincount(own_channel, weights, minlength=channels)

    def compare(self, before: Float32Array, window: Float32Array, *, regions: bool = False) -> None:
        """Compare a window with what windows before it found in the same place.

        Args:
            before: Logits of the windows before it times a weight, (class, z, y, x).
            window: Its own logits.
            regions: Whether classes may overlap.
        """
        one, other = (best_channel(logits, regions=regions) for logits in (before, window))
        count = len(self.voxels)
        self.both += np.bincount(one[one == other], minlength=count)
        self.either += np.bincount(one.ravel(), minlength=count)
        self.either += np.bincount(other.ravel(), minlength=count)

    def features(self, classes: Sequence[str], *, voxel_ml: float) -> dict[str, dict[str, float]]:
        """What the sums say of each foreground class.

        Args:
            classes: Class name by channel.
            voxel_ml: Volume of a voxel of the network's grid.

        Returns:
            By class name: ``network_ml``, its volume on that grid, and the features of
            :class:`~nnstudent.quality.features.OrganFeatures` that rest on scores; NaN where
            nothing was seen.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = {
                "network_ml": self.voxels * voxel_ml,
                "soft_dice": 2 * self.own / (self.voxels + self.everywhere),
                "confidence": self.own / self.voxels,
                "doubtful": self.doubtful / self.voxels,
                "entropy": self.entropy / self.voxels,
                "edge_entropy": self.edge_entropy / self.edge,
                "agreement": 2 * self.both / self.either,
            }
        return {
            name: {key: float(column[k]) for key, column in columns.items()}
            for k, name in enumerate(classes)
            if k
        }


def _open(
    values: Float32Array, channel: LabelArray, *, scores: ClassScores
) -> npt.NDArray[np.bool_]:
    """Where some class is possible: elsewhere probabilities are not computed."""
    highest = values[1:].max(axis=0)
    if scores.kind == "probabilities":
        return np.asarray((highest > np.exp(-_CERTAIN)) | (channel > 0))
    # Where no window was run, background has a logit of 1 and every class one of 0.
    seen = (highest != 0) | (values[0] != 1)
    background = 0.0 if scores.regions else values[0]
    return np.asarray(((highest > background - _CERTAIN) & seen) | (channel > 0))


def _probabilities(values: Float32Array, *, scores: ClassScores) -> Float32Array:
    """Probabilities (class, voxel) of some voxels."""
    if scores.kind == "probabilities":
        return values
    if scores.regions:
        return np.asarray(0.5 * np.tanh(0.5 * values) + 0.5, np.float32)
    shares = np.exp(values - values.max(axis=0))
    return np.asarray(shares / shares.sum(axis=0), np.float32)


def _entropy(probability: Float32Array) -> Float32Array:
    """Entropy in bits of being the class or not."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)), np.float32)


def _edge(channel: LabelArray) -> npt.NDArray[np.bool_]:
    """Voxels of a plane beside another label."""
    edge = np.zeros(channel.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = channel[one] != channel[other]
        edge[one] |= differs
        edge[other] |= differs
    return edge
