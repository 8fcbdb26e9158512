"""A U-Net whose encoder skips the finest resolution.

On a CPU that resolution alone costs as much as all others together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nnstudent.training.networks.unet import Decoder, Size, convolution, initialize, stacked


class StridedStemUNet(nn.Module):
    """The plain U-Net whose encoder starts at the second resolution, by a strided convolution.

    The finest resolution has only the last stage of the decoder, whose skip connection is the image
    itself, for sharp borders; it may be thin. The first entry of ``encoder_convolutions`` is
    therefore not used.
    """

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
        channels = (input_channels, *features[1:-1])
        rows = zip(
            encoder_convolutions[1:], channels, features[1:], kernels[1:], strides[1:], strict=True
        )
        self.encoder = nn.ModuleList(stacked(convolution, *row) for row in rows)
        self.decoder = Decoder(
            convolution,
            features=features,
            skips=channels,
            strides=strides,
            kernels=kernels,
            convolutions=decoder_convolutions,
            classes=num_classes,
            deep_supervision=deep_supervision,
        )

    def forward(self, image: Tensor) -> Any:
        """Scores of a window (sample, channel, z, y, x), see :class:`Decoder`."""
        skips = [image]
        for stage in self.encoder:
            skips.append(stage(skips[-1]))
        return self.decoder(skips)

    initialize = staticmethod(initialize)
