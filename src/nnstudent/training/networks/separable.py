"""A U-Net of depthwise-separable convolutions: for its width it has few weights and operations, but moves as much memory as any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nnstudent.training.networks.unet import Decoder, Size, convolution, finish, initialize, stacked


class SeparableUNet(nn.Module):
    """As the plain U-Net, with each 3×3×3 convolution split in one along space, map by map, and one across maps."""

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
        """A network as its recipe says; the first two arguments are named by nnU-Net."""
        super().__init__()
        channels = (input_channels, *features[:-1])
        # the first layer sees one map, which there is nothing to separate of
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
    """A convolution along space of each map by itself, one across the maps, instance norm and leaky ReLU."""
    padding = tuple(size // 2 for size in kernel)
    along = nn.Conv3d(
        channels, channels, tuple(kernel), tuple(stride), padding, groups=channels, bias=False
    )
    return nn.Sequential(along, nn.Conv3d(channels, features, 1), *finish(features))
