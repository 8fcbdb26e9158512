"""The learning rate and the class weights in the course of a training, as pure functions."""

from __future__ import annotations

import math

from nnstudent.training.recipe import Training


def learning_rate(training: Training, step: int) -> float:
    """Learning rate of one step.

    Args:
        training: The recipe's settings; ``poly`` falls from epoch to epoch as
            lr·(1 − epoch/epochs)^0.9 (nnU-Net), ``cosine`` from step to step.
        step: Number of the step over the whole training, from 0.
    """
    epoch, total = step // training.iterations, training.epochs * training.iterations
    if training.schedule == "poly":
        rate: float = training.lr * (1 - epoch / training.epochs) ** 0.9
    else:
        rate = training.lr * 0.5 * (1 + math.cos(math.pi * step / total))
    return rate * min(1.0, (step + 1) / training.warmup) if training.warmup else rate


def fading(training: Training, epoch: int) -> float:
    """Exponent of the class weights in an epoch.

    It is 1; with ``fade_weights`` it falls to 0 in the second half of the training.
    """
    return min(1.0, 2 - 2 * epoch / training.epochs) if training.fade_weights else 1.0
