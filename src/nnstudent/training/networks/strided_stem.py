"""A U-Net that leaves the finest resolution at once: on a processor that one alone costs as much as all others together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nnstudent.training.networks.unet import Decoder, Size, convolution, initialize, stacked


class StridedStemUNet(nn.Module):
    """As the plain U-Net, but the way down begins at the second resolution, from the image by a strided convolution.

    At the finest resolution there is only the last stage of the way up, in which the image itself comes across, for sharp borders;
    it may be thin. There are therefore no ``encoder_convolutions`` for the finest: their first entry is passed over.
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
        """A network as its recipe says; the first two arguments are named by nnU-Net."""
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
