"""Scans that a tiny network can learn, a label table of the user's own, and a preset for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nnstudent.io.nifti import write_image, write_labels
from nnstudent.volume import Grid, Volume

TABLE = """
name = "three"
[[class]]
id = 1
name = "ball"
[[class]]
id = 2
name = "brick"
[[class]]
id = 3
name = "spot"
kind = "lesion"
"""

PRESET = """
folds = 2
[select]
min_agreement = 0.05
[student.network]
features = [8, 16, 16]
strides  = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
[student.data]
spacing_mm  = [4.0, 4.0, 4.0]
patch       = [16, 24, 24]
image_order = 1
separate_z  = false
foreground  = 0.7
[student.training]
epochs              = 4
iterations          = 14
validation_batches  = 1
optimizer           = "adamw"
lr                  = 1e-2
schedule            = "cosine"
class_weights       = "rarity"
batch_dice          = true
label_interpolation = "nearest"
augment             = ["brightness"]
[teachers]
like = "student"
"""

SHAPE, SPACING_MM = (20, 30, 36), 3.0
ORGANS, ALL = ("ball", "brick"), ("ball", "brick", "spot")
# id, annotated, role: full, organs only, one organ only, none, and one to test on.
CASES = (
    ("full_a", ALL, "train"),
    ("full_b", ALL, "train"),
    ("organs", ORGANS, "train"),
    ("one_organ", ("ball",), "train"),
    ("unlabeled", (), "train"),
    ("held_out", ALL, "test"),
)


def scan(seed: int) -> tuple[Volume, Volume]:
    """A ball with a bright spot in it and a brick, in noise, each case elsewhere; LPS, as CT is
    stored."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    center = np.array([10, 14, 10]) + rng.integers(-2, 3, 3)
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip((z, y, x), center, strict=True)))
    labels = np.zeros(SHAPE, np.uint8)
    labels[distance < 7] = 1
    low = np.array([5, 8, 22]) + rng.integers(-2, 3, 3)
    labels[low[0] : low[0] + 9, low[1] : low[1] + 12, low[2] : low[2] + 10] = 2
    labels[distance < 3] = 3
    hu = np.array([-80, 60, 180, 320])[labels] + rng.normal(0, 15, SHAPE)
    grid = Grid(SHAPE, np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0]))
    return Volume(hu.astype(np.int16), grid), Volume(labels, grid)


def write_source(folder: Path) -> Path:
    """Write the scans, their list ``cases.toml``, ``table.toml`` and ``tiny.toml``
    into a folder."""
    (folder / "table.toml").write_text(TABLE)
    (folder / "tiny.toml").write_text(PRESET)
    rows = []
    for seed, (id, annotated, role) in enumerate(CASES):
        image, labels = scan(seed)
        write_image(folder / f"{id}.nii.gz", image)
        row = [f'id = "{id}"', f'image = "{id}.nii.gz"', f'role = "{role}"']
        if annotated:
            kept = np.where(
                np.isin(labels.array, [ALL.index(name) + 1 for name in annotated]), labels.array, 0
            )
            if "spot" not in annotated:  # who does not look for spots draws the ball over them
                kept[labels.array == 3] = 1
            write_labels(folder / f"{id}_label.nii.gz", Volume(kept, labels.grid))
            row += [f'label = "{id}_label.nii.gz"', f"annotated = {json.dumps(list(annotated))}"]
        rows.append("\n".join(["[[case]]", *row]))
    (folder / "cases.toml").write_text("\n\n".join(rows))
    return folder
