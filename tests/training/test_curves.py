"""The curves of a training."""

from __future__ import annotations

import json

import numpy as np

from nnstudent.training.curves import StepNote, epoch_curves, plain_log


def test_curves_are_plain_data_and_nan_is_none() -> None:
    log = {
        "train_losses": [np.float32(0.5), np.float32(0.25)],
        "val_losses": [float("nan"), np.float64(0.123456789)],
        "mean_fg_dice": [0.1, 0.2],
        "lrs": [0.01, 0.005],
        "dice_per_class_or_region": [[0.1, float("nan")], [0.2, np.array(0.3)]],
        "epoch_start_timestamps": [10.0, 12.0, 15.0],  # the third epoch has not ended
        "epoch_end_timestamps": [11.5, 14.0],
    }
    curves = epoch_curves(plain_log(log), ["liver", "spleen"])
    assert json.loads(json.dumps(curves)) == curves
    assert curves["val_loss"] == [None, 0.12346]
    assert curves["dice_by_class"] == {"liver": [0.1, 0.2], "spleen": [None, 0.3]}
    assert curves["seconds"] == [1.5, 2.0]


def test_the_note_smooths_the_loss_and_has_the_last_dice() -> None:
    note = StepNote()
    assert note.after(1.0) == "loss 1.00"
    assert note.after(0.0) == "loss 0.95"
    note.dice = 0.5
    assert note.after(0.95) == "loss 0.95, Dice 0.50"
