"""How a network computes on a device: number format, memory layout, and faster layers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnstudent.training.cpu import bfloat16, fast_layers


@dataclass(frozen=True)
class Precision:
    """The recipe's precision on a device.

    Attributes:
        device: The device that trains.
        wanted: The recipe's setting; ``mixed`` falls back to fp32 on a CPU without bfloat16.
    """

    device: torch.device
    wanted: Literal["fp32", "mixed"]

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return bool(self.device.type == "cpu")

    @property
    def mixed(self) -> bool:
        """Whether the network computes in half precision."""
        return self.wanted == "mixed" and (not self.on_cpu or bfloat16.pays())

    @property
    def channels_last(self) -> bool:
        """Whether images and weights are stored with the channels last.

        On a CPU a step in fp32 takes a quarter less time in this layout. In bfloat16 the
        normalizations keep it too; what that saves has not been measured on such a CPU.
        """
        return self.on_cpu

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs."""
        if not self.mixed:
            return nullcontext()
        context: AbstractContextManager[Any] = torch.autocast(
            self.device.type, torch.bfloat16 if self.on_cpu else None
        )
        return context

    def prepare(self, network: nn.Module) -> None:
        """Set a network's memory layout and replace the layers that are slow on this device.

        Args:
            network: Changed in place; weights and their names stay as they are.
        """
        if self.channels_last:
            network.to(memory_format=torch.channels_last_3d)
        if self.on_cpu and self.mixed:
            bfloat16.spare_small(network)
            fast_layers.keep_layout(network)
        elif self.channels_last and fast_layers.pays():
            fast_layers.quicken(network)

    def move(self, image: Tensor) -> Tensor:
        """Move an image (sample, channel, z, y, x) to the device, in the network's layout."""
        image = image.to(self.device, non_blocking=True)
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        return image

    def run(self, network: nn.Module, image: Tensor) -> Any:
        """Scores of a network in fp32, (sample, class, z, y, x); a list with deep supervision."""
        with self.autocast():
            output = network(image)
        if isinstance(output, list | tuple):
            return [scores.float() for scores in output]
        return output.float()
