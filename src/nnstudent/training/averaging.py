"""The moving average of a network's weights, which is less noisy than those of a single step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average that soon forgets its first steps.

    The share of itself that it keeps rises with the steps, (1 + n) / (10 + n), up to ``decay``, so
    that a short training is averaged over its own length.
    """

    def __init__(self, decay: float) -> None:
        """Start with no weights.

        Args:
            decay: The share that it keeps at each step, in the long run.
        """
        self._decay, self._steps = decay, 0
        self._values: dict[str, Tensor] = {}

    def update(self, network: nn.Module) -> None:
        """Add the weights of one step."""
        self._steps += 1
        keep = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, value in network.named_parameters():
            if name in self._values:
                self._values[name].lerp_(value.detach(), 1 - keep)
            else:
                self._values[name] = value.detach().clone()

    def of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A network's state with the average in place of its weights."""
        # One weight may have several names.
        shared = {weights[name].data_ptr(): value for name, value in self._values.items()}
        return {name: shared.get(value.data_ptr(), value) for name, value in weights.items()}

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Continue from an earlier average, the state of such a network, as if of many steps."""
        self._steps = 100_000
        self._values = {
            name: weights[name].detach().clone() for name, _ in network.named_parameters()
        }

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Give the network the average as its weights inside the block."""
        last = {
            name: value.detach().clone()
            for name, value in network.named_parameters()
            if name in self._values
        }
        _copy(self._values, network)
        try:
            yield
        finally:
            _copy(last, network)


def _copy(values: Mapping[str, Tensor], network: nn.Module) -> None:
    for name, value in network.named_parameters():
        if name in values:
            value.detach().copy_(values[name])
