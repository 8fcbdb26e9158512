"""A U-Net of depthwise-separable convolutions.

It has few weights and operations for its width, but moves as much memory as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nnstudent.training.networks.unet import Decoder, Size, convolution, finish, initialize, stacked


class SeparableUNet(nn.Module):
    """The plain U-Net with each 3×3×3 convolution split into a spatial and a pointwise one."""

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        features: Sequence[int],
        strides: Sequence[Size],
        kernels: Sequence[Size],
        encoder_convolutions: Sequence[int],
        decoder_convolutions: Sequence[int],
        deep_supervision: bool = False,
    ) -> None:
        """Build the network of a recipe; nnU-Net names the first two arguments."""
        super().__init__()
        channels = (input_channels, *features[:-1])
        # The first layer has a single input map, so there is nothing to separate.
        kinds = (convolution, *[separable] * (len(features) - 1))
        self.encoder = nn.ModuleList(
            stacked(*row)
            for row in zip(
                kinds, encoder_convolutions, channels, features, kernels, strides, strict=True
            )
        )
        self.decoder = Decoder(
            separable,
            features=features,
            skips=features[:-1],
            strides=strides,
            kernels=kernels,
            convolutions=decoder_convolutions,
            classes=num_classes,
            deep_supervision=deep_supervision,
        )

    def forward(self, image: Tensor) -> Any:
        """Scores of a window (sample, channel, z, y, x), see :class:`Decoder`."""
        skips: list[Tensor] = []
        for stage in self.encoder:
            skips.append(stage(skips[-1] if skips else image))
        return self.decoder(skips)

    initialize = staticmethod(initialize)


def separable(channels: int, features: int, kernel: Size, stride: Size) -> nn.Module:
    """A spatial convolution of each map, a pointwise one, instance norm and leaky ReLU."""
    padding = tuple(size // 2 for size in kernel)
    along = nn.Conv3d(
        channels, channels, tuple(kernel), tuple(stride), padding, groups=channels, bias=False
    )
    return nn.Sequential(along, nn.Conv3d(channels, features, 1), *finish(features))
