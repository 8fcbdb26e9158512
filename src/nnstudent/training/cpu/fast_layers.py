"""Layers of a network that is trained on a processor: the same numbers, in less time.

Three things are slow in PyTorch there in fp32, with one window a step and no AVX-512: oneDNN has no kernel of its own for the gradient of a
convolution's weights; small convolutions do not reach oneDNN at all; and instance normalisation copies each tensor to another
layout and back. `bench/training.py` measures what comes of it.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def quicken(network: nn.Module) -> None:
    """Let 3×3×3 convolutions of stride 1 and instance normalisations compute in a quicker way; weights and names stay as they are.

    Args:
        network: In memory format ``channels_last_3d``; changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and _is_plain(module):
            module.forward = MethodType(_convolved, module)
    keep_layout(network)


def keep_layout(network: nn.Module) -> None:
    """Let instance normalisations compute in the layout and precision of what they are given; weights and names stay as they are.

    PyTorch's own copies to another layout and back, and under autocast it leaves bfloat16: a third of a step's time.

    Args:
        network: Changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d) and not module.track_running_stats:
            module.forward = MethodType(_normalised, module)


def pays() -> bool:
    """Whether this processor is one for which it was measured to be quicker: with AVX2, without AVX-512."""
    return bool(
        torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def _is_plain(module: nn.Conv3d) -> bool:
    ones = (1, 1, 1)
    as_usual = (
        module.kernel_size == (3, 3, 3)
        and module.padding == ones
        and module.padding_mode == "zeros"
    )
    return bool(as_usual and module.stride == module.dilation == ones and module.groups == 1)


def _convolved(self: nn.Conv3d, x: Tensor) -> Tensor:
    y: Tensor = Convolution.apply(x, self.weight, self.bias)
    return y


def _normalised(self: nn.InstanceNorm3d, x: Tensor) -> Tensor:
    # of a single sample both normalisations are the same, and this one computes in the layout that it is given
    alone = [
        functional.batch_norm(one, None, None, self.weight, self.bias, training=True, eps=self.eps)
        for one in x.split(1)
    ]
    return alone[0] if len(alone) == 1 else torch.cat(alone)


class Convolution(torch.autograd.Function):
    """A 3×3×3 convolution of stride 1 with a border of zeros, (sample, channel, z, y, x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As :func:`torch.nn.functional.conv3d` with ``padding=1``, by oneDNN whatever the size."""
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the input is a convolution with the kernel mirrored; that of the weights, sums of products over voxels."""
        (grad,) = grads
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        into_x, into_weight, into_bias = ctx.needs_input_grad
        return (
            _by_onednn(grad, weight.flip(2, 3, 4).transpose(0, 1), None) if into_x else None,
            weight_gradient(x, grad) if into_weight else None,
            grad.sum((0, 2, 3, 4)) if into_bias else None,
        )


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    ones = [1, 1, 1]
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    y: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, ones, ones, ones, 1)
    return y


def weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the weights of a 3×3×3 convolution with a border of zeros.

    Slice by slice, so that what is multiplied lies in the processor's cache: each voxel's three neighbors along x, times the output's
    gradients of the three slices that it reaches, for each of three offsets along y.

    Args:
        x: Input, (sample, channel, z, y, x).
        grad: Gradient of the output, (sample, channel, z, y, x).

    Returns:
        (channel of the output, channel of the input, 3, 3, 3).
    """
    samples, channels, depth, height, width = x.shape
    out = grad.shape[1]
    x, grad = (
        values.permute(0, 2, 3, 4, 1) for values in (x, grad)
    )  # as they lie in memory: (sample, z, y, x, channel)
    total = x.new_zeros(
        3, 3 * out, 3 * channels
    )  # by offset along y; rows by offset along z, columns along x
    near = x.new_zeros(
        height + 2, width, 3, channels
    )  # what is never written is the border of zeros
    reached = x.new_empty(height, width, 3, out)
    for sample in range(samples):
        for z in range(depth):
            near[1:-1, 1:, 0] = x[sample, z, :, :-1]
            near[1:-1, :, 1] = x[sample, z]
            near[1:-1, :-1, 2] = x[sample, z, :, 1:]
            for offset in range(3):
                to = z + 1 - offset  # the slice that has z at this place of its kernel
                reached[:, :, offset] = grad[sample, to] if 0 <= to < depth else 0
            rows = reached.view(height * width, -1).T
            for offset in range(3):
                total[offset].addmm_(rows, near[offset : offset + height].view(height * width, -1))
    return total.view(3, 3, out, 3, channels).permute(2, 4, 1, 0, 3)
