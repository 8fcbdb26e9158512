"""Optimizer and optimizer step of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from nnstudent.errors import InputError
from nnstudent.training.recipe import Training

# Consecutive steps without a loss after which waiting is useless; half precision skips single ones.
MAX_LOST_STEPS = 20


def make_optimizer(training: Training, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The recipe's optimizer; the trainer sets its learning rate at each step."""
    optimizer: torch.optim.Optimizer
    if training.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            parameters,
            training.lr,
            momentum=training.momentum,
            nesterov=True,
            weight_decay=training.weight_decay,
        )
    else:
        # In one pass through memory, which takes half the time.
        optimizer = torch.optim.AdamW(
            parameters, training.lr, weight_decay=training.weight_decay, fused=True
        )
    return optimizer


def update(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, *, clip: float, scaler: Any
) -> bool:
    """Propagate a loss back and take one optimizer step.

    Args:
        network: The network; its weights change.
        optimizer: Its optimizer.
        loss: Loss of the batch.
        clip: Largest norm of the gradient.
        scaler: Scales the loss in half precision, and skips the steps that overflow; or None.

    Returns:
        Whether the step was taken. Without a scaler, a gradient that is not finite is skipped:
        otherwise one such step would destroy all weights.
    """
    if scaler is not None:
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        return True
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    if not torch.isfinite(norm):
        return False
    optimizer.step()
    return True


class LossGuard:
    """Counts consecutive steps without a finite loss, and ends a training that has lost it.

    Attributes:
        lost: Consecutive steps without a finite loss and gradient.
    """

    def __init__(self, training: Training) -> None:
        """Start with no step lost."""
        self._training = training
        self.lost = 0

    def record(self, *, finite: bool) -> None:
        """Record whether a step had a finite loss and gradient."""
        self.lost = 0 if finite else self.lost + 1

    def check(self, title: str, step: int) -> None:
        """End the training if too many steps were lost.

        Args:
            title: Name of the training, for the error.
            step: Steps made so far.

        Raises:
            InputError: The loss or its gradient has not been finite for many steps.
        """
        if self.lost < min(MAX_LOST_STEPS, self._training.iterations):
            return
        other = "" if self._training.precision == "fp32" else ' or set precision = "fp32"'
        raise InputError(
            f"{title}: no finite loss and gradient since step {step - self.lost + 1}; "
            f"lower lr ({self._training.lr:g}){other} in the preset's training, "
            "which then starts over"
        )


class ConstantScheduler:
    """Takes the place of nnU-Net's scheduler and does nothing; the trainer sets the rate."""

    def step(self, epoch: int | None = None) -> None:
        """Do nothing."""
