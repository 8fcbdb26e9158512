"""bfloat16 on a CPU: where it is faster, and the convolutions that must not use it."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn

LEAST = 3  # voxels along each axis


def pays() -> bool:
    """Whether this CPU computes in bfloat16 natively; emulated it is slower than fp32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in checks if hasattr(torch.cpu, name))


def spare_small(network: nn.Module) -> None:
    """Compute convolutions in fp32 if their input has an axis of fewer than three voxels.

    For such shapes oneDNN 3.12, on a CPU with AVX512-BF16 but without AMX, gives wrong bfloat16
    gradients of the weights, among them NaN, or writes out of bounds. None of 512 shapes with at
    least three voxels along each axis was wrong, for each kind of convolution. A network has such
    small shapes at its coarsest resolution, where a convolution costs next to nothing.

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
