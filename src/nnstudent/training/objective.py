"""The loss of a recipe, with what each case has annotated and the class weights of the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor

from nnstudent.training.annotated import PartialLabels
from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.training.losses.distillation import DistillingLoss
from nnstudent.training.recipe import Training
from nnstudent.training.schedule import fading


def halved(resolutions: int) -> tuple[float, ...]:
    """Weights of the losses at each resolution, each half of the one before; their sum is 1."""
    weights = [0.5**number for number in range(resolutions)]
    return tuple(weight / sum(weights) for weight in weights)


class Objective:
    """nnU-Net's loss, adapted to partial labels and to the teachers' uncertainty as a recipe asks.

    It is called as a loss is: with the scores and the labels at each resolution.
    """

    def __init__(
        self,
        loss: Any,
        training: Training,
        *,
        partial: PartialLabels,
        class_weights: Sequence[float],
        device: torch.device,
    ) -> None:
        """Wrap nnU-Net's loss.

        Args:
            loss: nnU-Net's loss, with or without its deep supervision.
            training: The recipe's settings.
            partial: The partially annotated cases.
            class_weights: Weights of the cross-entropy, background first; empty if equal.
            device: The device that trains.
        """
        supervised = isinstance(loss, DeepSupervisionWrapper)
        if supervised and training.coarsest_loss:
            loss.weight_factors = halved(len(loss.weight_factors))
        self._ordinary: Any = loss.loss if supervised else loss
        self._training, self._partial, self._device = training, partial, device
        self._class_weights = list(class_weights)
        adapted: Any = None
        if training.distill:
            adapted = DistillingLoss(self._ordinary, share=training.distill)
        elif partial:
            adapted = MarginalLoss(self._ordinary)
        if adapted is not None and supervised:
            loss.loss = adapted
        self._loss: Any = loss if supervised else adapted or loss

    def start_epoch(self, epoch: int) -> None:
        """Set the class weights of an epoch (see ``fade_weights`` in the recipe)."""
        if self._class_weights:
            weights = torch.tensor(self._class_weights, dtype=torch.float32, device=self._device)
            self._ordinary.ce.weight = weights ** fading(self._training, epoch)

    def possible(self, cases: Sequence[str]) -> Tensor | None:
        """What the labels of a batch leave open.

        Args:
            cases: The case of each sample.

        Returns:
            Whether a class may be where the label names another, (sample, label, class); None if
            every case is fully annotated.
        """
        if not any(case in self._partial.possible for case in cases):
            return None
        return torch.from_numpy(self._partial.possible_in(cases)).to(
            self._device, non_blocking=True
        )

    def __call__(
        self, output: Any, targets: Sequence[Tensor], possible: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch.

        Args:
            output: Scores, (sample, class, z, y, x); with deep supervision a list, finest first.
            targets: Labels at each resolution of the loss, finest first, (sample, item, z, y, x).
            possible: See :meth:`possible`.
        """
        supervised = isinstance(output, list | tuple)
        arguments = [output, list(targets) if supervised else targets[0]]
        if self._partial:
            arguments.append([possible] * len(output) if supervised else possible)
        loss: Tensor = self._loss(*arguments)
        return loss
