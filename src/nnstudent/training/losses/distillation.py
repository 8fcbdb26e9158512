"""Learning from the ensemble's doubt: Dice and cross-entropy against a distribution instead of a label.

What a voxel is told travels as three items: its label, the runner-up, and the doubt, which is 255 times the runner-up's probability. A
voxel that a person labeled, or where nothing is known of the ensemble, has no doubt. docs/explanation/partial-labels.md has the formulas.
"""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch import Tensor, nn

from nnstudent.training.data.uncertainty import CERTAIN
from nnstudent.training.losses.dice_ce import MarginalLoss, by_label, open_of


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
            possible: See :meth:`MarginalLoss.forward`. The soft part takes no voxel of an open
                class for certain, so painted lesions count in the hard part only.
        """
        hard: Tensor = self.hard(logits, target[:, :1], possible)
        return (1 - self.share) * hard + self.share * self._soft(logits, target, possible)

    def _soft(self, logits: Tensor, target: Tensor, possible: Tensor | None) -> Tensor:
        ordinary = self.hard.ordinary
        if possible is None:
            possible = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device).expand(
                len(logits), -1, -1
            )
        log_p = logits.flatten(2).log_softmax(1)
        samples = [
            self._sample(*sample) for sample in zip(log_p, target.flatten(2), possible, strict=True)
        ]
        cost, voxels, mass, wrong, excluded, overlap, told = (
            torch.stack(values) for values in zip(*samples, strict=True)
        )
        unknown = possible[:, 0].clone()
        unknown[:, 0] = False
        cross_entropy = cost.sum() / voxels.sum().clamp_min(torch.finfo(log_p.dtype).tiny)
        dice = self.hard.dice(overlap, mass, told, ~unknown)
        astray = self.hard.dice(wrong, mass, excluded, unknown, over_all=True)
        return ordinary.weight_ce * cross_entropy + ordinary.weight_dice * (astray - dice)

    def _sample(self, log_p: Tensor, target: Tensor, possible: Tensor) -> tuple[Tensor, ...]:
        """What one sample comes to: cost and weight of its voxels, and by class the sums that Dice is made of.

        A voxel is told two labels at most, most are told one: first all of them are gone through, then those that are doubted.

        Args:
            log_p: Logarithm of the probabilities, (class, voxel).
            target: Label, runner-up and doubt, (3, voxel).
            possible: (label, class).
        """
        unknown = possible[0].clone()
        unknown[0] = False
        labels, runner_up = (told_label(part, unknown) for part in target[:2])
        ignore = self.hard.ordinary.ignore_label
        counted = (
            torch.ones_like(labels, dtype=log_p.dtype)
            if ignore is None
            else (target[0] != ignore).to(log_p)
        )
        doubt = target[2].to(log_p) / CERTAIN * counted * (labels != runner_up)
        weight = self.hard.ordinary.ce.weight  # by voxel, not by class, or rare classes would be said more often than the teachers say them
        weigh = counted
        if weight is not None:
            weight = weight.to(log_p)
            weigh = (counted - doubt) * weight[labels] + doubt * weight[runner_up]
        doubted = doubt.nonzero()[:, 0]
        sums = _said(log_p, labels, counted - doubt, weigh, possible, unknown)
        if len(doubted):
            other = _said(
                log_p[:, doubted],
                runner_up[doubted],
                doubt[doubted],
                weigh[doubted],
                possible,
                unknown,
            )
            sums = tuple(one + two for one, two in zip(sums, other, strict=True))
        cost, *by_class = sums
        return cost, weigh.sum(), *by_class


def told_label(labels: Tensor, unknown: Tensor) -> Tensor:
    """Labels as the loss takes them: a class that is not annotated is background, and so is what is ignored, which counts in nothing."""
    labels = labels.long()
    labels = labels.masked_fill(labels >= len(unknown), 0)
    return labels.masked_fill(unknown[labels], 0)


def _said(
    log_p: Tensor, labels: Tensor, share: Tensor, weigh: Tensor, possible: Tensor, unknown: Tensor
) -> tuple[Tensor, ...]:
    """What one label a voxel comes to, said with some probability.

    Args:
        log_p: Logarithm of the probabilities, (class, voxel).
        labels: Background or annotated classes, (voxel).
        share: How probable the label is, (voxel).
        weigh: Weight of the voxel in the cross-entropy.
        possible: (label, class).
        unknown: Classes that are not annotated, (class).

    Returns:
        Cross-entropy; by class: probability mass, the same where the label rules the class out, voxels where it does, the lesser of what
        the network and the label say, and what the label says.
    """
    own = log_p.gather(0, labels[None])[0]
    log_hit, ruled_out, mass, wrong, excluded = open_of(
        log_p, own, labels, share, possible, unknown
    )
    cost = (weigh * share * (torch.log1p(ruled_out) - log_hit)).sum()
    left = share * (log_hit.exp() - own.exp())  # what the label leaves open counts as said
    lesser = torch.minimum(own.exp() + left, share)
    left, lesser, told = (
        by_label(value[None], labels[None], like=mass[None])[0] for value in (left, lesser, share)
    )
    return cost, mass + left, wrong, excluded, lesser, told
