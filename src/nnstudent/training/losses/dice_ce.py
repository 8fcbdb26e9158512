"""Dice and cross-entropy for cases in which somebody looked for some of the classes only.

The idea of the two parts is of Shi et al., "Marginal loss and exclusion loss for partially supervised multi-organ segmentation",
Medical Image Analysis 70 (2021) 101979. docs/explanation/partial-labels.md has the formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, nn


class MarginalLoss(nn.Module):
    """nnU-Net's Dice and cross-entropy where what a label leaves open is not punished.

    A label is the set of classes that may truly be there: "background" of a case in which nobody looked for the pancreas is
    background or pancreas. The probability of a label is the sum over its set; of that, cross-entropy and Dice are taken. Where a
    label rules a class out that is not annotated in the case (pancreas is not where liver is drawn), an exclusion term
    punishes predicting it. A voxel with the ignore label counts in nothing.
    """

    def __init__(self, ordinary: DC_and_CE_loss) -> None:
        """Take over the settings of nnU-Net's loss: its weights by class, Dice by batch, smoothing, several processes.

        Args:
            ordinary: Computes the loss of batches that are annotated throughout; Dice without background.
        """
        super().__init__()
        self.ordinary = ordinary

    def forward(self, logits: Tensor, target: Tensor, possible: Tensor | None = None) -> Tensor:
        """The loss of one batch at one resolution.

        Args:
            logits: Output of the network, (sample, class, z, y, x), channel 0 is background.
            target: Labels, (sample, 1, z, y, x). A class that is not annotated in a case is certain where it is drawn all the same, as
                painted lesions are, and open everywhere else; the ignore label is that of the ordinary loss.
            possible: Whether class c may be where the label says y, (sample, y, c), bool, as :func:`possible_classes` gives
                it. None: every sample is annotated throughout, which is nnU-Net's ordinary loss, to the last bit.
        """
        if possible is None:
            ordinary: Tensor = self.ordinary(logits, target)
            return ordinary
        unknown = possible[
            :, 0
        ].clone()  # (sample, class): not annotated, so it may be in the background
        unknown[:, 0] = False
        labels = target[:, 0].long()
        ignore = self.ordinary.ignore_label
        counted = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
        labels = labels.masked_fill(~counted, 0)
        # of a class that nobody annotated only painted voxels are known: there it is certain
        painted = torch.stack([row[which] for row, which in zip(unknown, labels, strict=True)])
        log_p = logits.log_softmax(1)
        own = log_p.gather(1, labels[:, None])[:, 0]
        samples = [
            open_of(*sample)
            for sample in zip(log_p, own, labels, counted, possible, unknown, strict=True)
        ]
        log_hit, ruled_out, mass, wrong, excluded = (
            torch.stack(values) for values in zip(*samples, strict=True)
        )
        log_hit = torch.where(painted, own, log_hit)

        weight = self.ordinary.ce.weight
        voxel = counted.to(log_hit) if weight is None else weight.to(log_hit)[labels] * counted
        least = torch.finfo(voxel.dtype).tiny  # where every voxel is ignored
        cross_entropy = (voxel * (torch.log1p(ruled_out) - log_hit)).sum() / voxel.sum().clamp_min(
            least
        )

        overlap, own_mass, drawn = (
            by_label(value * counted, labels, like=mass)
            for value in (log_hit.exp(), own.exp(), torch.ones_like(own))
        )
        dice = self.dice(overlap, mass - own_mass + overlap, drawn, ~unknown)
        astray = self.dice(wrong, mass, excluded, unknown, over_all=True)
        return self.ordinary.weight_ce * cross_entropy + self.ordinary.weight_dice * (astray - dice)

    def dice(
        self,
        overlap: Tensor,
        predicted: Tensor,
        drawn: Tensor,
        counted: Tensor,
        *,
        over_all: bool = False,
    ) -> Tensor:
        """Mean soft Dice over the samples and classes that are counted, background left out.

        Args:
            overlap: Probability mass where it belongs, (sample, class).
            predicted: All of it.
            drawn: Voxels where it belongs.
            counted: Which classes of which samples.
            over_all: Divide by the number of all classes, so that one class of many has the say of one.
        """
        settings: Any = self.ordinary.dc
        chosen = counted.to(overlap)
        overlap, predicted, drawn = (value * chosen for value in (overlap, predicted, drawn))
        if settings.batch_dice:
            if settings.ddp:
                overlap, predicted, drawn, chosen = (
                    AllGatherGrad.apply(value).sum(0)
                    for value in (overlap, predicted, drawn, chosen)
                )
            overlap, predicted, drawn = (
                value.sum(0, keepdim=True) for value in (overlap, predicted, drawn)
            )
            chosen = (chosen.sum(0, keepdim=True) > 0).to(overlap)
        dice = (2 * overlap + (0.0 if over_all else settings.smooth)) / (
            predicted + drawn + settings.smooth
        ).clamp_min(1e-8)
        chosen = chosen[:, 1:]
        share = chosen.numel() if over_all else chosen.sum().clamp_min(1)
        return (dice[:, 1:] * chosen).sum() / share


def open_of(
    log_p: Tensor, own: Tensor, labels: Tensor, counted: Tensor, possible: Tensor, unknown: Tensor
) -> tuple[Tensor, ...]:
    """What the labels of one sample come to.

    Labels that leave the same classes open are one pattern, of which there are few (background, organ, lesion): sums over classes and
    over voxels are then products of small matrices with the probabilities, each one pass through memory.

    Args:
        log_p: Logarithm of the probabilities, (class, z, y, x).
        own: That of the labels, (z, y, x).
        labels: Background or annotated classes, (z, y, x).
        counted: How much the voxel counts in the sums by class, (z, y, x); False or 0 where it is ignored.
        possible: (label, class).
        unknown: Classes that are not annotated, (class).

    Returns:
        The logarithm of the label's probability, (z, y, x); the probability of what is not annotated and ruled out by the label,
        (z, y, x); by class, over the voxels that are counted, the sum of its probability, the same where it is ruled out, and at how
        many voxels that is.
    """
    p = log_p.exp().flatten(1)
    allowed, pattern = (possible & unknown).unique(dim=0, return_inverse=True)
    forbidden = unknown & ~allowed
    here = pattern[labels].flatten()
    sums = torch.cat([allowed, forbidden]).to(p) @ p
    left, ruled_out = (part.gather(0, here[None]).view_as(own) for part in sums.chunk(2))
    where = torch.stack(
        [(here == number) * counted.flatten() for number in range(len(allowed))]
    ).to(p)
    mass = where @ p.T
    wrong, excluded = (mass * forbidden).sum(0), where.sum(1) @ forbidden.to(p)
    # where nothing is left open, or too little for this precision, the label stands alone: the logarithm of 0 would spoil the gradient
    least = torch.finfo(p.dtype).tiny
    log_hit = torch.where(left > least, torch.logaddexp(own, left.clamp_min(least).log()), own)
    return log_hit, ruled_out, mass.sum(0), wrong, excluded


def by_label(values: Tensor, labels: Tensor, *, like: Tensor) -> Tensor:
    """Sum over the voxels of each label, (sample, class), in double precision, for the terms are added one by one."""
    sums = torch.zeros(like.shape, dtype=torch.float64, device=like.device)
    return sums.scatter_add(1, labels.flatten(1), values.flatten(1).double()).to(like)
