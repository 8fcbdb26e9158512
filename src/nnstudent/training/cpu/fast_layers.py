"""Faster layers for training on a CPU, with the same results.

In fp32, with one window a step and without AVX-512, three things are slow in PyTorch: oneDNN has
no kernel of its own for the gradient of a convolution's weights; small convolutions do not reach
oneDNN at all; and instance normalization copies each tensor to another layout and back.
`bench/training.py` measures the effect.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def quicken(network: nn.Module) -> None:
    """Compute 3×3×3 convolutions of stride 1 and instance normalizations faster.

    Args:
        network: In memory format ``channels_last_3d``; changed in place, but weights and their
            names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and _is_plain(module):
            module.forward = MethodType(_convolved, module)
    keep_layout(network)


def keep_layout(network: nn.Module) -> None:
    """Compute instance normalizations in the layout and precision of their input.

    PyTorch's own copies to another layout and back, and under autocast it leaves bfloat16, which
    takes a third of a step.

    Args:
        network: Changed in place, but weights and their names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d) and not module.track_running_stats:
            module.forward = MethodType(_normalised, module)


def pays() -> bool:
    """Whether this CPU is of the kind on which it was measured to be faster: AVX2, no AVX-512."""
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
    # For a single sample both normalizations are the same, and batch norm keeps the layout.
    alone = [
        functional.batch_norm(one, None, None, self.weight, self.bias, training=True, eps=self.eps)
        for one in x.split(1)
    ]
    return alone[0] if len(alone) == 1 else torch.cat(alone)


class Convolution(torch.autograd.Function):
    """A 3×3×3 convolution of stride 1, padded with zeros, (sample, channel, z, y, x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve as :func:`torch.nn.functional.conv3d` with ``padding=1``, always by oneDNN."""
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input, weights and bias.

        The gradient of the input is a convolution with the mirrored kernel; that of the weights is
        a sum of products over voxels.
        """
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
    """Gradient of the weights of a 3×3×3 convolution that is padded with zeros.

    It works slice by slice, so that what is multiplied lies in the CPU's cache: each voxel's three
    neighbors along x, times the output's gradients of the three slices that it reaches, for each of
    three offsets along y.

    Args:
        x: Input, (sample, channel, z, y, x).
        grad: Gradient of the output, (sample, channel, z, y, x).

    Returns:
        Gradient, (channel of the output, channel of the input, 3, 3, 3).
    """
    samples, channels, depth, height, width = x.shape
    out = grad.shape[1]
    # As they lie in memory: (sample, z, y, x, channel).
    x, grad = (values.permute(0, 2, 3, 4, 1) for values in (x, grad))
    # One matrix for each offset along y; rows by offset along z, columns by offset along x.
    total = x.new_zeros(3, 3 * out, 3 * channels)
    near = x.new_zeros(height + 2, width, 3, channels)  # the padding is never written
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
