"""The paper's student as training leaves it, but with random weights: it is as fast as trained."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from nnstudent.bundle.network import build
from nnstudent.bundle.spec import BACKGROUND
from nnstudent.pipeline.preset import load_preset
from nnstudent.taxonomy import flare23
from nnstudent.training.design.speed import network_spec
from nnstudent.training.plans import CONFIGURATION, Fingerprint, make_dataset_json, make_plans

# About those of abdominal organs in HU, by which images are normalized.
INTENSITY = {
    "mean": 80.0,
    "std": 140.0,
    "percentile_00_5": -950.0,
    "percentile_99_5": 320.0,
    "median": 95.0,
    "min": -1024.0,
    "max": 3071.0,
}


def write_untrained(folder: Path, *, seed: int = 0) -> Path:
    """Write an nnU-Net model folder of preset paper's student with random weights.

    Args:
        folder: The folder; what is in it is written again.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    recipe, table = load_preset("paper").student, flare23()
    data, classes = recipe.data, table.names
    spec = network_spec(recipe.network, data.patch, data.spacing_mm, classes=(BACKGROUND, *classes))
    torch.manual_seed(seed)
    module = build(spec)
    with torch.no_grad():  # norms with scales of 1 and shifts of 0 would be optimized away
        for weight in module.parameters():
            weight.add_(0.01)
    checkpoint = {
        "network_weights": module.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    volumes = (1.0,) * (1 + len(classes))
    plans = make_plans(
        recipe,
        Fingerprint(INTENSITY, (2.5, 0.8, 0.8), (100, 512, 512), volumes),
        dataset_name="Dataset001_student",
    )
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(make_dataset_json(table, classes, cases=0)))
    return folder
