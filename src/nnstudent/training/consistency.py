"""Mean teacher: the network must predict of a distorted window what its average says of the window.

The target needs no label, so it also teaches where a label is ignored or left open. From Tarvainen
and Valpola, "Mean teachers are better role models", NeurIPS 2017; the strong and the weak view of
one window are those of Sohn et al., "FixMatch", NeurIPS 2020.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from nnstudent.training.averaging import WeightAverage
from nnstudent.training.precision import Precision
from nnstudent.training.recipe import Training

RISING = 0.4  # share of the training in which the weight rises
# Of intensities that are normalized to a standard deviation of about 1.
_FACTOR = (0.6, 1.4)
_OFFSET = (-0.4, 0.4)
_NOISE = (0.0, 0.3)
_BLUR = 0.5  # share of windows that are blurred


class Consistency:
    """The term of the loss that compares the network with the moving average of its weights.

    The average sees the window as the recipe augments it, the network a strongly changed copy.
    Both have the same geometry, so that they can be compared voxel by voxel.
    """

    def __init__(self, weight: float, average: WeightAverage, *, steps: int) -> None:
        """Start without a target.

        Args:
            weight: Weight of the term once it has risen.
            average: The moving average of the network's weights.
            steps: Steps of the whole training.
        """
        self._weight, self._average, self._steps = weight, average, steps

    def target(self, network: torch.nn.Module, image: Tensor, precision: Precision) -> Tensor:
        """The average's probabilities for a window.

        Call it before the network's own forward pass: it swaps the weights, and a pass that still
        has to go back would miss its own.

        Args:
            network: The network; its weights are the same afterwards.
            image: The window, (sample, channel, z, y, x).
            precision: How the network computes.

        Returns:
            Probabilities at the finest resolution, (sample, class, z, y, x).
        """
        with torch.no_grad(), self._average.applied(network):
            output = precision.run(network, image)
            finest: Tensor = output[0] if isinstance(output, list | tuple) else output
            return finest.softmax(1)

    def loss(self, scores: Tensor, target: Tensor, *, step: int) -> Tensor:
        """The weighted squared difference of the probabilities, averaged over voxels.

        Args:
            scores: The network's scores of the strong view, (sample, class, z, y, x).
            target: See :meth:`target`.
            step: Steps taken so far.
        """
        difference = (scores.softmax(1) - target).square().sum(1).mean()
        return self._weight * risen(step, self._steps) * difference


def make_consistency(training: Training, average: WeightAverage | None) -> Consistency | None:
    """The term that a recipe asks for; None for none."""
    if not training.consistency or average is None:
        return None
    steps = training.epochs * training.iterations
    return Consistency(training.consistency, average, steps=steps)


def risen(step: int, steps: int) -> float:
    """The share of the weight that a step has, from e^-5 to 1, by Tarvainen and Valpola.

    The average of a network that has not learned anything is no target.

    Args:
        step: Steps taken so far.
        steps: Steps of the whole training.
    """
    left = 1.0 - min(1.0, step / (RISING * steps))
    return math.exp(-5.0 * left * left)


def strong_view(image: Tensor) -> Tensor:
    """A copy of a window with other brightness, contrast, sharpness and noise.

    Args:
        image: Normalized intensities, (sample, channel, z, y, x).
    """
    return torch.cat([_changed(sample) for sample in image.split(1)])


def _changed(sample: Tensor) -> Tensor:
    factor, offset, noise = (
        float(np.random.uniform(*ends))  # noqa: NPY002  # as nnU-Net's transforms do
        for ends in (_FACTOR, _OFFSET, _NOISE)
    )
    if np.random.uniform() < _BLUR:  # noqa: NPY002
        coarse = avg_pool3d(sample, 2, ceil_mode=True, count_include_pad=False)
        sample = interpolate(coarse, size=sample.shape[2:], mode="trilinear")
    mean = sample.mean()
    return (sample - mean) * factor + mean + offset + noise * torch.randn_like(sample)
