"""The curves of a training as plain data, for ``progress.json`` and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def plain_log(value: Any) -> Any:
    """nnU-Net's log with Python's own types instead of NumPy's."""
    if isinstance(value, dict):
        return {key: plain_log(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_log(item) for item in value]
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def epoch_curves(log: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Losses, Dice, learning rate and seconds of each epoch.

    Args:
        log: nnU-Net's log, see :func:`plain_log`.
        classes: Names of the foreground classes, in the order of the channels.

    Returns:
        Lists with one entry per epoch; None stands for NaN.
    """
    spans = zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=False)
    return {
        "train_loss": _numbers(log["train_losses"]),
        "val_loss": _numbers(log["val_losses"]),
        "dice": _numbers(log["mean_fg_dice"]),
        "dice_by_class": {
            name: _numbers([row[number] for row in log["dice_per_class_or_region"]])
            for number, name in enumerate(classes)
        },
        "lr": _numbers(log["lrs"]),
        "seconds": [round(end - start, 3) for start, end in spans],
    }


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 5) for value in values]


class StepNote:
    """What is shown beside a training's progress: its loss and its last Dice.

    Attributes:
        dice: Mean Dice of the last validation; NaN before the first.
    """

    def __init__(self) -> None:
        """Start without a loss."""
        self.dice = math.nan
        self._loss = math.nan

    def after(self, loss: float) -> str:
        """The note after a step; the loss is averaged over about 20 steps."""
        self._loss = loss if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * loss
        dice = "" if math.isnan(self.dice) else f", Dice {self.dice:.2f}"
        return f"loss {self._loss:.2f}{dice}"
