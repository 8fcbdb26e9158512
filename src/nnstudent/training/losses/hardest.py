"""Cross-entropy in which the voxels that are hardest count as much as all together.

A mean over all voxels hardly notices a lesion of 30 voxels among 100,000 that are easy, nor a
vessel that is taken for one. A mean over the hardest per cent notices both (online hard example
mining; nnU-Net's TopK loss counts the hardest tenth, and nothing else). A mean over the hardest
alone makes all voxels equally hard: a lesion stage whose easy voxels did not count any more was
unsure of everything (docs/results/history.md). So half of the loss is the mean over all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class HardestCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy, half of it over a share of the voxels, those in which it is largest."""

    def __init__(self, ordinary: nn.CrossEntropyLoss, *, share: float) -> None:
        """Take over the settings of the ordinary loss.

        Args:
            ordinary: Its class weights and its ignored label apply here too.
            share: How many of the voxels are the hardest, above 0 to 1.
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
        return mean_with_hardest(values, weights, share=self.share)


def mean_with_hardest(values: Tensor, weights: Tensor, *, share: float) -> Tensor:
    """Half the weighted mean over all voxels, and half that over those with the largest values.

    Args:
        values: A loss by voxel, of any shape.
        weights: The weight of each voxel, 0 where it does not count.
        share: How many of the voxels are the hardest, by their weighted values, above 0 to 1; with
            1 it is the mean over all.
    """
    weighted = (values * weights).flatten()
    weights = weights.flatten()
    whole = _mean(weighted, weights)
    if share == 1:
        return whole
    most = max(1, round(share * weighted.numel()))
    hardest, chosen = weighted.topk(most, sorted=False)
    return (whole + _mean(hardest, weights[chosen])) / 2


def _mean(weighted: Tensor, weights: Tensor) -> Tensor:
    # Every voxel may be ignored.
    return weighted.sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
