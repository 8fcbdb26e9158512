"""The validation at the end of each epoch: confusion counts of windows, and Dice by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.collate_outputs import collate_outputs
from torch import Tensor

from nnstudent.types import IndexArray


def confusion_counts(
    scores: Tensor, labels: Tensor, possible: Tensor | None
) -> dict[str, IndexArray]:
    """Count hits, false positives and false negatives of each foreground class.

    Args:
        scores: Scores of the network, (sample, class, z, y, x).
        labels: Labels, (sample, z, y, x); values beyond the last class are ignored.
        possible: Whether a class may be where the label names another, (sample, label, class); a
            prediction that may be right is no error. None: every class is annotated.

    Returns:
        nnU-Net's names ``tp_hard``, ``fp_hard`` and ``fn_hard``, each (foreground class).
    """
    classes = scores.shape[1]
    predicted, true = scores.argmax(1), labels.long()
    counted = true < classes
    true = true.where(counted, 0)
    if possible is not None:
        sample = torch.arange(len(true), device=true.device)[:, None, None, None]
        predicted = torch.where(possible[sample, true, predicted], true, predicted)
    predicted, true = predicted[counted], true[counted]
    pairs = torch.bincount(true * classes + predicted, minlength=classes * classes)
    table = pairs.reshape(classes, classes).cpu().numpy()
    hits = np.diag(table)[1:]
    return {
        "tp_hard": hits,
        "fp_hard": table.sum(0)[1:] - hits,
        "fn_hard": table.sum(1)[1:] - hits,
    }


def epoch_scores(
    outputs: Sequence[Mapping[str, Any]], classes: int
) -> tuple[list[float], float, float]:
    """Dice of each class over all validation windows, their mean, and the mean loss.

    Args:
        outputs: ``loss`` and :func:`confusion_counts` of each batch.
        classes: Number of foreground classes.

    Returns:
        Dice by class, NaN for a class that no window holds; the mean of the others; the loss.
    """
    if not outputs:
        return [math.nan] * classes, math.nan, math.nan
    collated = collate_outputs(list(outputs))
    hits, extra, missed = (
        np.sum(collated[f"{kind}_hard"], 0).tolist() for kind in ("tp", "fp", "fn")
    )
    dice = [
        float(2 * h / (2 * h + e + m)) if h + m > 0 else math.nan
        for h, e, m in zip(hits, extra, missed, strict=True)
    ]
    known = [value for value in dice if not math.isnan(value)]
    mean = sum(known) / len(known) if known else math.nan
    return dice, mean, float(np.mean([output["loss"] for output in outputs]))
