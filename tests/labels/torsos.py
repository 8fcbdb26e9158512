"""Toy torsos with organs of ellipsoids: a cohort in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

SHAPE, SPACING_MM = (44, 52, 64), (5.0, 5.0, 5.0)
# Name: center towards right, front and head, half axes, in mm; HU.
ORGANS = {
    "liver": ((70, 10, 20), (55, 55, 60), 100),
    "right_kidney": ((50, -50, -40), (25, 25, 45), 170),
    "left_kidney": ((-50, -50, -30), (25, 25, 45), 170),
    "spleen": ((-90, -30, 40), (28, 28, 45), 120),
    "stomach": ((-50, 50, 30), (32, 28, 45), 40),
    "aorta": ((-8, -45, 0), (11, 11, 500), 220),
    "inferior_vena_cava": ((22, -40, 0), (12, 12, 500), 160),
}


def torso(seed: int) -> tuple[Volume, Volume]:
    """An image in HU and its label map, RAS; every patient differs a little."""
    chance = np.random.default_rng(seed)
    grid = Grid(SHAPE, _affine())
    index = np.indices(SHAPE).reshape(3, -1)[::-1].T
    places = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]).reshape(*SHAPE, 3)
    size = chance.normal(1, 0.06)
    inside = (places[..., 0] / (150 * size)) ** 2 + (places[..., 1] / (110 * size)) ** 2 <= 1
    image = np.where(inside, -90.0, -1000.0)
    labels = np.zeros(SHAPE, np.uint8)
    table = flare23()
    for name, (center, axes, hu) in ORGANS.items():
        middle = np.array(center) * size + chance.normal(0, 4, 3)
        half = np.array(axes) * size * chance.normal(1, 0.06, 3)
        mask = (((places - middle) / half) ** 2).sum(axis=-1) <= 1
        mask &= (labels == 0) & inside
        labels[mask] = table[name].id
        image[mask] = hu + chance.normal(0, 6)
    image += chance.normal(0, 12, SHAPE)
    return Volume(image.astype(np.int16), grid), Volume(labels, grid)


def write_torsos(folder: Path, count: int) -> Cohort:
    """A cohort folder of torsos whose organs are all annotated."""
    cases = []
    for seed in range(count):
        image, labels = torso(seed)
        paths = [folder / kind / f"t{seed:02d}.nii.gz" for kind in ("images", "labels")]
        write_image(paths[0], image)
        write_labels(paths[1], labels)
        cases.append(Case(f"t{seed:02d}", paths[0], paths[1], frozenset(ORGANS), declared=True))
    cohort = Cohort(flare23(), tuple(cases))
    write_cohort(folder, cohort)
    return cohort


def _affine() -> np.ndarray:
    z, y, x = SPACING_MM
    affine = np.diag([x, y, z, 1.0])
    affine[:3, 3] = [-size * mm / 2 for size, mm in zip(SHAPE[::-1], (x, y, z), strict=True)]
    return affine
