"""Label maps small enough for a test: a box an organ, with a grid that is not cubic."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

SHAPE = (14, 24, 26)
GRID = Grid(SHAPE, np.diag([-2.0, -2.0, 5.0, 1.0]))  # LPS, 5 mm slices


def organs(*, shift: int = 0, tumor: bool = False, without: tuple[int, ...] = ()) -> np.ndarray:
    """Thirteen boxes; a shift moves all of them along x."""
    labels = np.zeros(SHAPE, np.uint8)
    for id in range(1, 14):
        if id not in without:
            y, x = divmod(id - 1, 4)
            z = 2 + id % 3
            labels[z : z + 7, 1 + 6 * y : 5 + 6 * y, 1 + 6 * x + shift : 5 + 6 * x + shift] = id
    if tumor:
        labels[5:7, 2:4, 2:4] = 14
    return labels


def save(path: Path, labels: np.ndarray, *, grid: Grid = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, Volume(labels, grid))
    return path


def ct(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """HU that go with the labels."""
    body = np.full(SHAPE, -1000, np.int16)
    body[:, 1:-1, 1:-1] = -90
    body[labels > 0] = (40 + 8 * labels.astype(np.int16))[labels > 0]
    return body + np.random.default_rng(seed).normal(0, 12, SHAPE).astype(np.int16)


def make_cohort(folder: Path, *, test: int = 2, train: int = 2) -> Cohort:
    """Training cases with organs or only the liver annotated; fully annotated test cases."""
    table = flare23()
    cases = []
    for index in range(train + test):
        role = "train" if index < train else "test"
        labels = organs(tumor=role == "test")
        annotated = frozenset(table.names if role == "test" else table.organs)
        if index == 1:
            labels[labels != 1] = 0
            annotated = frozenset({"liver"})
        id = f"{role}_{index:02d}"
        image = folder / "images" / f"{id}.nii.gz"
        image.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, Volume(ct(labels, index), GRID))
        cases.append(
            Case(id, image, save(folder / "labels" / f"{id}.nii.gz", labels), annotated, True, role)
        )
    cohort = Cohort(table, tuple(cases))
    write_cohort(folder, cohort)
    return cohort
