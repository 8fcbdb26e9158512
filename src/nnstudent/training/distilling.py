"""Learning from the ensemble's doubt: Dice and cross-entropy against a distribution instead of a label.

What a voxel is told travels as three items: its label, the runner-up, and the doubt, which is 255 times the runner-up's probability. A
voxel that a person labeled, or where nothing is known of the ensemble, has no doubt. docs/explanation/partial-labels.md has the formulas.
"""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch import Tensor, nn

from nnstudent.training.doubt import CERTAIN
from nnstudent.training.losses import MarginalLoss


class DistillingLoss(nn.Module):
    """The loss of the labels, and that of what the ensemble thinks, mixed.

    Without doubt the second is the first. With it cross-entropy is least, and Dice is most, where the network says what the ensemble
    says: Dice is written with absolute differences, for the product of two probabilities is greatest where one of them is 1. That form
    is of Wang et al., "Dice semimetric losses: optimizing the Dice score with soft labels", MICCAI 2023.
    """

    def __init__(self, ordinary: DC_and_CE_loss, *, share: float) -> None:
        """Take over the settings of nnU-Net's loss.

        Args:
            ordinary: See :class:`MarginalLoss`.
            share: Of the soft loss, 0 to 1.
        """
        super().__init__()
        self.hard, self.share = MarginalLoss(ordinary), share

    def forward(self, logits: Tensor, target: Tensor, possible: Tensor | None = None) -> Tensor:
        """The loss of one batch at one resolution.

        Args:
            logits: Output of the network, (sample, class, z, y, x), channel 0 is background.
            target: Label, runner-up and doubt, (sample, 3, z, y, x).
            possible: See :meth:`MarginalLoss.forward`.
        """
        hard: Tensor = self.hard(logits, target[:, :1], possible)
        return (1 - self.share) * hard + self.share * self._soft(logits, target, possible)

    def _soft(self, logits: Tensor, target: Tensor, possible: Tensor | None) -> Tensor:
        ordinary = self.hard.ordinary
        if possible is None:
            possible = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device).expand(len(logits), -1, -1)
        unknown = possible[:, 0].clone()
        unknown[:, 0] = False
        told = told_distribution(target, unknown, ignore=ordinary.ignore_label, like=logits).flatten(2)
        log_p = logits.flatten(2).log_softmax(1)
        counted = told.sum(1, keepdim=True)  # what is ignored counts in nothing
        p = log_p.exp() * counted

        allowed, forbidden = possible & unknown[:, None], ~possible & unknown[:, None]  # (sample, label, class)
        left = allowed.to(p) @ p  # by label, the probability of what it leaves open
        least = torch.finfo(p.dtype).tiny  # as in the marginal loss: the logarithm of 0 would spoil the gradient
        log_hit = torch.where(left > least, torch.logaddexp(log_p, left.clamp_min(least).log()), log_p)
        weight = ordinary.ce.weight  # by voxel, not by class, or rare classes would be said more often than the ensemble says them
        say = counted if weight is None else (told * weight.to(told)[:, None]).sum(1, keepdim=True)
        cross_entropy = (say * told * (torch.log1p(forbidden.to(p) @ p) - log_hit)).sum() / say.sum().clamp_min(least)

        mass = p + told * left
        both = 0.5 * (mass + told - (mass - told).abs())
        dice = self.hard.dice(both.sum(2), mass.sum(2), told.sum(2), ~unknown)
        excluded = forbidden.to(p).transpose(1, 2) @ told  # by class, how probable it is that the label rules it out
        astray = self.hard.dice((p * excluded).sum(2), p.sum(2), excluded.sum(2), unknown, over_all=True)
        return ordinary.weight_ce * cross_entropy + ordinary.weight_dice * (astray - dice)


def told_distribution(target: Tensor, unknown: Tensor, *, like: Tensor, ignore: int | None = None) -> Tensor:
    """The probability of each class by what a voxel is told; nothing at all where it is ignored.

    Args:
        target: Label, runner-up and doubt, (sample, 3, z, y, x).
        unknown: Which classes are not annotated, (sample, class); they count as background.
        like: Says which precision.
        ignore: The label of what is ignored.

    Returns:
        (sample, class, z, y, x).
    """
    labels, runner_up, doubt = target[:, 0].long(), target[:, 1].long(), target[:, 2].to(like) / CERTAIN
    counted = torch.ones_like(doubt) if ignore is None else (labels != ignore).to(like)
    told = like.new_zeros((len(target), unknown.shape[1], *target.shape[2:]))
    for which, probability in ((labels, (1 - doubt) * counted), (runner_up, doubt * counted)):
        told.scatter_add_(1, which.clamp_max(unknown.shape[1] - 1)[:, None], probability[:, None])
    hidden = told * unknown[:, :, None, None, None]
    told[:, 0] += hidden.sum(1)
    return told - hidden
