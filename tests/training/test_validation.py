"""The validation at the end of an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.training.validation import confusion_counts, epoch_scores  # noqa: E402


def scores(*classes: int) -> torch.Tensor:
    """Scores of one sample for three classes, (1, class, voxel, 1, 1)."""
    return torch.eye(3)[list(classes)].T[None, :, :, None, None]


def labels(*classes: int) -> torch.Tensor:
    return torch.tensor(classes)[None, :, None, None]


def test_hits_and_errors_of_each_class() -> None:
    counts = confusion_counts(scores(0, 1, 1, 2, 0), labels(0, 1, 2, 2, 1), None)
    assert counts["tp_hard"].tolist() == [1, 1]
    assert counts["fp_hard"].tolist() == [1, 0]
    assert counts["fn_hard"].tolist() == [1, 1]


def test_ignored_voxels_do_not_count() -> None:
    counts = confusion_counts(scores(1, 1, 2), labels(1, 3, 3), None)
    assert [int(values.sum()) for values in counts.values()] == [1, 0, 0]


def test_what_may_be_there_is_no_error() -> None:
    possible = torch.eye(3, dtype=torch.bool)[None].clone()
    possible[0, 0, 2] = True
    counts = confusion_counts(scores(2, 1), labels(0, 0), possible)
    assert counts["fp_hard"].tolist() == [1, 0]


def test_dice_is_that_of_all_windows_together() -> None:
    outputs = [
        {"loss": loss, **confusion_counts(scores(*found), labels(*true), None)}
        for loss, found, true in ((1.0, (1, 1, 0), (1, 0, 0)), (3.0, (0, 1, 0), (1, 1, 0)))
    ]
    dice, mean, loss = epoch_scores(outputs, 2)
    assert dice[0] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert math.isnan(dice[1])
    assert (mean, loss) == (dice[0], 2.0)


def test_without_windows_there_is_no_score() -> None:
    dice, mean, loss = epoch_scores([], 2)
    assert np.isnan([*dice, mean, loss]).all()
