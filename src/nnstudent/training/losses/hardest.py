"""Cross-entropy over the voxels that are hardest.

A mean over all voxels hardly notices a lesion of 30 voxels among 100,000 that are easy, nor a
vessel that is taken for one. A mean over the hardest per cent notices both (online hard example
mining; nnU-Net's TopK loss counts the hardest tenth).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class HardestCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy over a share of the voxels, those in which it is largest."""

    def __init__(self, ordinary: nn.CrossEntropyLoss, *, share: float) -> None:
        """Take over the settings of the ordinary loss.

        Args:
            ordinary: Its class weights and its ignored label apply here too.
            share: How many of the voxels count, above 0 to 1.
        """
        super().__init__(weight=ordinary.weight, ignore_index=ordinary.ignore_index)
        self.share = share

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            input: Scores, (sample, class, z, y, x).
            target: Labels, (sample, z, y, x).
        """
        labels = target.long()
        counted = labels != self.ignore_index
        labels = labels.masked_fill(~counted, 0)
        values = functional.cross_entropy(input, labels, reduction="none")
        weights = counted.to(values)
        if self.weight is not None:
            weights = weights * self.weight.to(values)[labels]
        return mean_of_hardest(values, weights, share=self.share)


def mean_of_hardest(values: Tensor, weights: Tensor, *, share: float) -> Tensor:
    """The weighted mean over a share of the voxels, those with the largest weighted values.

    Args:
        values: A loss by voxel, of any shape.
        weights: The weight of each voxel, 0 where it does not count.
        share: How many of the voxels count, above 0 to 1.
    """
    weighted = (values * weights).flatten()
    weights = weights.flatten()
    if share < 1:
        most = max(1, round(share * weighted.numel()))
        weighted, chosen = weighted.topk(most, sorted=False)
        weights = weights[chosen]
    # Every voxel may be ignored.
    return weighted.sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
