"""nnU-Net's test-time augmentation: the mean logits of a window and its mirror images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from nnstudent.types import Float32Array


def with_mirroring(
    network: Callable[[Float32Array], Float32Array], axes: Sequence[int]
) -> Callable[[Float32Array], Float32Array]:
    """A network that averages over the mirror images of a window along all subsets of some axes.

    Args:
        network: Maps a window (z, y, x) to logits (class, z, y, x).
        axes: Axes of the window, 0 to 2, along which images were mirrored in training. The network
            runs 2 to the power of their number times.
    """
    choices = [
        chosen
        for count in range(1, len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]

    def mean(window: Float32Array) -> Float32Array:
        total = network(window).copy()
        for chosen in choices:
            logits = network(np.ascontiguousarray(np.flip(window, chosen)))
            total += np.flip(logits, tuple(axis + 1 for axis in chosen))
        total /= len(choices) + 1
        return total

    return mean
