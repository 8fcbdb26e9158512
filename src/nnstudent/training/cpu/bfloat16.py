"""bfloat16 on a processor: where it pays, and the convolutions that must stay out of it."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn

LEAST = 3  # voxels along each axis


def pays() -> bool:
    """Whether this processor computes in bfloat16 itself; emulated it is slower than fp32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in checks if hasattr(torch.cpu, name))


def spare_small(network: nn.Module) -> None:
    """Let convolutions compute in fp32, whatever autocast says, where their input has an axis of fewer than three voxels.

    There oneDNN 3.12, on a processor with AVX512-BF16 but no AMX, gives wrong bfloat16 gradients of the weights, NaN among them, or
    writes where it must not. Of 512 shapes with three voxels and more along each axis none was wrong, for each kind of convolution.
    A network meets such shapes at its coarsest, where a convolution costs nothing to speak of.

    Args:
        network: Changed in place; weights and names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.forward = MethodType(_convolved, module)


def _convolved(self: nn.Conv3d, x: Tensor) -> Tensor:
    if min(x.shape[2:]) >= LEAST:
        y: Tensor = nn.Conv3d.forward(self, x)
        return y
    with torch.autocast("cpu", enabled=False):
        y = nn.Conv3d.forward(self, x.float())
    return y
