"""The last layer of a network apart from the rest, so that windows are summed before it.

The last layer of nnU-Net's networks is a convolution of 1×1×1 voxels: the logits of a voxel are
weighted sums of its features. So the mean of the logits of overlapping windows is what the layer
gives for the mean of their features. A network of 118 classes has 32 features, so that the sums
take a quarter of the memory, and the layer runs once a voxel instead of once a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.types import Float32Array

FEWER = 2  # windows are summed before the layer where features are so many times fewer


@dataclass(frozen=True, eq=False)
class Head:
    """The last layer of a network.

    Attributes:
        weights: (class, feature).
        bias: (class,).
    """

    weights: Float32Array
    bias: Float32Array

    @property
    def features(self) -> int:
        """How many features it takes."""
        return int(self.weights.shape[1])

    @property
    def saves_memory(self) -> bool:
        """Whether sums of features take much less memory than those of logits."""
        return FEWER * self.features <= len(self.weights)

    def __call__(self, features: Float32Array) -> Float32Array:
        """Logits (class, …) of features (feature, …)."""
        logits: Float32Array = self.weights @ features.reshape(len(features), -1)
        logits += self.bias[:, np.newaxis]
        return logits.reshape(len(logits), *features.shape[1:])
