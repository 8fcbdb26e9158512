"""Distillation: Dice and cross-entropy against the ensemble's distribution instead of a label.

A voxel's target has three items: its label, the runner-up, and the uncertainty, which is 255 times
the runner-up's probability. A voxel that a person labeled, or whose uncertainty was not kept, is
certain. The formulas are in docs/explanation/partial-labels.md.
"""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch import Tensor, nn

from nnstudent.training.data.uncertainty import CERTAIN
from nnstudent.training.losses.dice_ce import MarginalLoss, by_label, label_sums


class DistillingLoss(nn.Module):
    """A weighted sum of the loss of the labels and that of the ensemble's distribution.

    Where every voxel is certain, the two are equal. Otherwise cross-entropy is smallest, and Dice
    largest, if the network gives the ensemble's probabilities. Dice is written with absolute
    differences, because the product of two probabilities is largest if one of them is 1. That form
    comes from Wang et al., "Dice semimetric losses: optimizing the Dice score with soft labels",
    MICCAI 2023.
    """

    def __init__(self, ordinary: DC_and_CE_loss, *, share: float) -> None:
        """Take over the settings of nnU-Net's loss.

        Args:
            ordinary: See :class:`MarginalLoss`.
            share: Share of the soft loss, 0 to 1.
        """
        super().__init__()
        self.hard, self.share = MarginalLoss(ordinary), share

    def forward(self, logits: Tensor, target: Tensor, possible: Tensor | None = None) -> Tensor:
        """The loss of one batch at one resolution.

        Args:
            logits: Output of the network, (sample, class, z, y, x); channel 0 is background.
            target: Label, runner-up and uncertainty, (sample, 3, z, y, x).
            possible: See :meth:`MarginalLoss.forward`. The soft part takes no voxel of an open
                class as certain, so painted lesions count in the hard part only.
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
        cost, voxels, mass, wrong, excluded, overlap, drawn = (
            torch.stack(values) for values in zip(*samples, strict=True)
        )
        not_annotated = possible[:, 0].clone()
        not_annotated[:, 0] = False
        cross_entropy = cost.sum() / voxels.sum().clamp_min(torch.finfo(log_p.dtype).tiny)
        dice = self.hard.dice(overlap, mass, drawn, counted=~not_annotated)
        exclusion = self.hard.dice(wrong, mass, excluded, counted=not_annotated, over_all=True)
        return ordinary.weight_ce * cross_entropy + ordinary.weight_dice * (exclusion - dice)

    def _sample(self, log_p: Tensor, target: Tensor, possible: Tensor) -> tuple[Tensor, ...]:
        """Cost and weight of a sample's voxels, and the sums by class that Dice needs.

        All voxels are summed with their label first, then the uncertain ones with the runner-up.

        Args:
            log_p: Logarithm of the probabilities, (class, voxel).
            target: Label, runner-up and uncertainty, (3, voxel).
            possible: Whether a class may be where the label names another, (label, class).
        """
        not_annotated = possible[0].clone()
        not_annotated[0] = False
        labels, runner_up = (known_label(part, not_annotated) for part in target[:2])
        ignore = self.hard.ordinary.ignore_label
        counted = (
            torch.ones_like(labels, dtype=log_p.dtype)
            if ignore is None
            else (target[0] != ignore).to(log_p)
        )
        uncertainty = target[2].to(log_p) / CERTAIN * counted * (labels != runner_up)
        # The weight is that of the voxel, not of the class; otherwise rare classes would be
        # predicted more often than the teachers predict them.
        weight = self.hard.ordinary.ce.weight
        weigh = counted
        if weight is not None:
            weight = weight.to(log_p)
            weigh = (counted - uncertainty) * weight[labels] + uncertainty * weight[runner_up]
        uncertain = uncertainty.nonzero()[:, 0]
        sums = _label_terms(log_p, labels, counted - uncertainty, weigh, possible, not_annotated)
        if len(uncertain):
            other = _label_terms(
                log_p[:, uncertain],
                runner_up[uncertain],
                uncertainty[uncertain],
                weigh[uncertain],
                possible,
                not_annotated,
            )
            sums = tuple(one + two for one, two in zip(sums, other, strict=True))
        cost, *by_class = sums
        return cost, weigh.sum(), *by_class


def known_label(labels: Tensor, not_annotated: Tensor) -> Tensor:
    """Labels with background where the class is not annotated, or the voxel is ignored.

    Args:
        labels: (voxel).
        not_annotated: Classes that are not annotated, (class).
    """
    labels = labels.long()
    labels = labels.masked_fill(labels >= len(not_annotated), 0)
    return labels.masked_fill(not_annotated[labels], 0)


def _label_terms(
    log_p: Tensor,
    labels: Tensor,
    share: Tensor,
    weigh: Tensor,
    possible: Tensor,
    not_annotated: Tensor,
) -> tuple[Tensor, ...]:
    """The terms of the loss for one label of each voxel, given with a probability.

    Args:
        log_p: Logarithm of the probabilities, (class, voxel).
        labels: Background or annotated classes, (voxel).
        share: Probability of the label, (voxel).
        weigh: Weight of the voxel in the cross-entropy, (voxel).
        possible: Whether a class may be where the label names another, (label, class).
        not_annotated: Classes that are not annotated, (class).

    Returns:
        Cross-entropy. By class: probability mass, the mass where the label rules the class out, the
        number of voxels where it does, the sum of the lesser of the network's and the label's
        probability, and the sum of the label's.
    """
    own = log_p.gather(0, labels[None])[0]
    log_hit, ruled_out, mass, wrong, excluded = label_sums(
        log_p, own, labels, share, possible, not_annotated
    )
    cost = (weigh * share * (torch.log1p(ruled_out) - log_hit)).sum()
    left = share * (log_hit.exp() - own.exp())  # what the label leaves open counts as predicted
    lesser = torch.minimum(own.exp() + left, share)
    left, lesser, drawn = (
        by_label(value[None], labels[None], like=mass[None])[0] for value in (left, lesser, share)
    )
    return cost, mass + left, wrong, excluded, lesser, drawn
