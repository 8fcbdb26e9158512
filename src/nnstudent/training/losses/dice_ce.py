"""Dice and cross-entropy for partially annotated cases.

The idea of its two parts comes from Shi et al., "Marginal loss and exclusion loss for partially
supervised multi-organ segmentation", Medical Image Analysis 70 (2021) 101979. The formulas are in
docs/explanation/partial-labels.md.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, nn


class MarginalLoss(nn.Module):
    """nnU-Net's Dice and cross-entropy, without a penalty for what a label leaves open.

    A label stands for the set of classes that may truly be there: in a case in which nobody looked
    for the pancreas, "background" is background or pancreas. The probability of a label is the sum
    over its set, from which cross-entropy and Dice are computed. If a label rules out a class that
    is not annotated in the case (pancreas is not where liver is drawn), an exclusion term
    penalizes predicting it. Ignored voxels do not count.
    """

    def __init__(self, ordinary: DC_and_CE_loss) -> None:
        """Take over the settings of nnU-Net's loss: class weights, batch Dice, smoothing, DDP.

        Args:
            ordinary: Computes the loss of fully annotated batches; its Dice omits the background.
        """
        super().__init__()
        self.ordinary = ordinary

    def forward(self, logits: Tensor, target: Tensor, possible: Tensor | None = None) -> Tensor:
        """The loss of one batch at one resolution.

        Args:
            logits: Output of the network, (sample, class, z, y, x); channel 0 is background.
            target: Labels, (sample, 1, z, y, x). A class that is not annotated in a case is certain
                where it is drawn all the same, as painted lesions are, and open everywhere else.
                The ignore label is that of the ordinary loss.
            possible: Whether class c may be where the label is y, (sample, y, c), bool, as
                :func:`possible_classes` gives it. None: every sample is fully annotated, and the
                result is nnU-Net's ordinary loss, to the last bit.
        """
        if possible is None:
            ordinary: Tensor = self.ordinary(logits, target)
            return ordinary
        # (sample, class): what is not annotated may be in the background
        not_annotated = possible[:, 0].clone()
        not_annotated[:, 0] = False
        labels = target[:, 0].long()
        ignore = self.ordinary.ignore_label
        counted = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
        labels = labels.masked_fill(~counted, 0)
        # A class that nobody annotated is known, and certain, only in painted voxels.
        painted = torch.stack(
            [row[which] for row, which in zip(not_annotated, labels, strict=True)]
        )
        log_p = logits.log_softmax(1)
        own = log_p.gather(1, labels[:, None])[:, 0]
        samples = [
            label_sums(*sample)
            for sample in zip(log_p, own, labels, counted, possible, not_annotated, strict=True)
        ]
        log_hit, ruled_out, mass, wrong, excluded = (
            torch.stack(values) for values in zip(*samples, strict=True)
        )
        log_hit = torch.where(painted, own, log_hit)

        weight = self.ordinary.ce.weight
        voxel = counted.to(log_hit) if weight is None else weight.to(log_hit)[labels] * counted
        least = torch.finfo(voxel.dtype).tiny  # every voxel may be ignored
        cross_entropy = (voxel * (torch.log1p(ruled_out) - log_hit)).sum() / voxel.sum().clamp_min(
            least
        )

        overlap, own_mass, drawn = (
            by_label(value * counted, labels, like=mass)
            for value in (log_hit.exp(), own.exp(), torch.ones_like(own))
        )
        dice = self.dice(overlap, mass - own_mass + overlap, drawn, counted=~not_annotated)
        exclusion = self.dice(wrong, mass, excluded, counted=not_annotated, over_all=True)
        return self.ordinary.weight_ce * cross_entropy + self.ordinary.weight_dice * (
            exclusion - dice
        )

    def dice(
        self,
        overlap: Tensor,
        predicted: Tensor,
        drawn: Tensor,
        *,
        counted: Tensor,
        over_all: bool = False,
    ) -> Tensor:
        """Mean soft Dice over the samples and classes that count, without background.

        Args:
            overlap: Probability mass within the label, (sample, class).
            predicted: All probability mass, (sample, class).
            drawn: Voxels of the label, (sample, class).
            counted: Which classes of which samples count, (sample, class).
            over_all: Divide by the number of all classes, so that each class has the same weight
                however many count.
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


def label_sums(
    log_p: Tensor,
    own: Tensor,
    labels: Tensor,
    counted: Tensor,
    possible: Tensor,
    not_annotated: Tensor,
) -> tuple[Tensor, ...]:
    """The probabilities that the labels of one sample leave open and rule out.

    Labels that leave the same classes open form a pattern, of which there are few (background,
    organ, lesion). Sums over classes and over voxels are then products of small matrices with the
    probabilities, each a single pass through memory.

    Args:
        log_p: Logarithm of the probabilities, (class, z, y, x).
        own: The same for the labels, (z, y, x).
        labels: Background or annotated classes, (z, y, x).
        counted: Weight of the voxel in the sums by class, (z, y, x); 0 if it is ignored.
        possible: Whether a class may be where the label names another, (label, class).
        not_annotated: Classes that are not annotated, (class).

    Returns:
        The logarithm of the label's probability, (z, y, x).
        The probability of what is not annotated and ruled out by the label, (z, y, x).
        By class, over the voxels that count: the sum of its probability, the sum where it is ruled
        out, and the number of those voxels.
    """
    p = log_p.exp().flatten(1)
    left_open, pattern = (possible & not_annotated).unique(dim=0, return_inverse=True)
    forbidden = not_annotated & ~left_open
    here = pattern[labels].flatten()
    sums = torch.cat([left_open, forbidden]).to(p) @ p
    left, ruled_out = (part.gather(0, here[None]).view_as(own) for part in sums.chunk(2))
    where = torch.stack(
        [(here == number) * counted.flatten() for number in range(len(left_open))]
    ).to(p)
    mass = where @ p.T
    wrong, excluded = (mass * forbidden).sum(0), where.sum(1) @ forbidden.to(p)
    # Where nothing is left open, or too little for this precision, only the label itself counts:
    # the logarithm of 0 would spoil the gradient.
    least = torch.finfo(p.dtype).tiny
    log_hit = torch.where(left > least, torch.logaddexp(own, left.clamp_min(least).log()), own)
    return log_hit, ruled_out, mass.sum(0), wrong, excluded


def by_label(values: Tensor, labels: Tensor, *, like: Tensor) -> Tensor:
    """Sum values over the voxels of each label.

    The sums are in double precision, because the terms are added one by one.

    Args:
        values: (sample, voxel…).
        labels: (sample, voxel…).
        like: A tensor with the shape and type of the result, (sample, class).
    """
    sums = torch.zeros(like.shape, dtype=torch.float64, device=like.device)
    return sums.scatter_add(1, labels.flatten(1), values.flatten(1).double()).to(like)
