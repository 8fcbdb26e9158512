"""What the U-Nets of this package share: layers, the decoder and the initial weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Size = Sequence[int]  # (z, y, x)
# Makes a layer from its input maps, output maps, kernel and stride.
Layer = Callable[[int, int, Size, Size], nn.Module]


def convolution(channels: int, features: int, kernel: Size, stride: Size) -> nn.Module:
    """A convolution, instance norm and leaky ReLU, as in nnU-Net's plain U-Net."""
    return nn.Sequential(
        nn.Conv3d(channels, features, tuple(kernel), tuple(stride), _padding(kernel)),
        *finish(features),
    )


def finish(features: int) -> tuple[nn.Module, nn.Module]:
    """The end of a layer: instance norm and leaky ReLU."""
    return nn.InstanceNorm3d(features, eps=1e-5, affine=True), nn.LeakyReLU(inplace=True)


def stacked(
    layer: Layer, number: int, channels: int, features: int, kernel: Size, stride: Size = (1, 1, 1)
) -> nn.Sequential:
    """Several layers in sequence, the first of which has the stride."""
    first = layer(channels, features, kernel, stride)
    return nn.Sequential(
        first, *(layer(features, features, kernel, (1, 1, 1)) for _ in range(number - 1))
    )


class Decoder(nn.Module):
    """The decoder, with a head at each resolution.

    Its parts are named as nnU-Net's, which switches ``deep_supervision`` from outside, and are
    ordered from coarse to fine.

    Args:
        layer: Makes the layers of its stages.
        features: Feature maps of each resolution, finest first.
        skips: Maps of the skip connection at each resolution but the coarsest.
        strides: Downsampling into each resolution, (z, y, x).
        kernels: Kernel of each resolution.
        convolutions: Layers of each resolution but the coarsest, in the order of nnU-Net's plans:
            coarsest first.
        classes: Channels of the output.
        deep_supervision: Whether each resolution gives scores, or only the finest.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        features: Sequence[int],
        skips: Sequence[int],
        strides: Sequence[Size],
        kernels: Sequence[Size],
        convolutions: Sequence[int],
        classes: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        levels = range(len(features) - 2, -1, -1)
        steps = [tuple(strides[level + 1]) for level in levels]
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(features[level + 1], features[level], step, step)
            for level, step in zip(levels, steps, strict=True)
        )
        self.stages = nn.ModuleList(
            stacked(layer, number, features[level] + skips[level], features[level], kernels[level])
            for level, number in zip(levels, convolutions, strict=True)
        )
        # Heads that only training needs exist always, so that the weights fit any loader.
        self.seg_layers = nn.ModuleList(nn.Conv3d(features[level], classes, 1) for level in levels)

    def forward(self, skips: Sequence[Tensor]) -> Any:
        """Scores (sample, class, z, y, x) of the finest resolution.

        With ``deep_supervision`` a list of the scores of all resolutions, finest first.
        """
        maps, scores = skips[-1], []
        for number, (up, stage, head) in enumerate(
            zip(self.transpconvs, self.stages, self.seg_layers, strict=True), start=2
        ):
            maps = stage(torch.cat((up(maps), skips[-number]), dim=1))
            if self.deep_supervision or number == len(skips):
                scores.append(head(maps))
        return scores[::-1] if self.deep_supervision else scores[0]


def initialize(module: nn.Module) -> None:
    """He initialization, as in nnU-Net's networks."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=1e-2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _padding(kernel: Size) -> tuple[int, int, int]:
    z, y, x = (size // 2 for size in kernel)
    return z, y, x
