"""Small scans with two organs and a lesion, and recipes that train on them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.pipeline.preset import Preset, SelectSettings, load_preset
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.training.recipe import Recipe
from nnstudent.volume import Grid, Volume

# ids with gaps, not in the order of the table, so that a mix-up of id and channel shows
TABLE = Taxonomy(
    "balls",
    (
        LabelClass(7, "left_ball"),
        LabelClass(3, "right_ball"),
        LabelClass(20, "spot", kind="lesion"),
    ),
)
SHAPE = (20, 24, 28)


def ball_scan(seed: int) -> tuple[Volume, Volume]:
    """HU and labels (taxonomy ids) of a scan with two balls and a spot.

    One ball is bright and holds the spot; the other, on the other side, is dark.
    """
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, np.diag([4.0, 4.0, 5.0, 1.0]))
    z, y, x = np.indices(SHAPE)
    image, labels = rng.normal(0, 15, SHAPE), np.zeros(SHAPE, np.uint8)
    for id, centre_x, hu, radius in ((7, 8, 200, 5.0), (3, 20, -150, 4.5), (20, 8, 400, 2.0)):
        centre = rng.normal((10, 12, centre_x), 0.5)
        inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2
        image[inside] = hu + rng.normal(0, 15, inside.sum())
        labels[inside] = id
    return Volume(image.astype(np.int16), grid), Volume(labels, grid)


def write_case(
    folder: Path, id: str, seed: int, annotated: frozenset[str] | None, *, role: str = "train"
) -> Case:
    """A case on disk, its label map with the annotated classes only; None: no label."""
    image, labels = ball_scan(seed)
    write_image(folder / "images" / f"{id}.nii.gz", image)
    if annotated is None:
        return Case(id, folder / "images" / f"{id}.nii.gz", role=role)  # type: ignore[arg-type]
    array = np.where(
        np.isin(labels.array, [TABLE[name].id for name in annotated]), labels.array, 0
    ).astype(np.uint8)
    write_labels(folder / "labels" / f"{id}.nii.gz", Volume(array, labels.grid))
    return Case(
        id,
        folder / "images" / f"{id}.nii.gz",
        folder / "labels" / f"{id}.nii.gz",
        annotated,
        True,
        role,
    )  # type: ignore[arg-type]


ORGANS = frozenset(("left_ball", "right_ball"))
ALL = ORGANS | {"spot"}


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Four cases with both organs, two of which have the lesion, and three others.

    These are a partial one, an unlabeled one and one for testing.
    """
    folder = tmp_path_factory.mktemp("balls")
    kinds = [
        ("a", ORGANS),
        ("b", ORGANS),
        ("c", ALL),
        ("d", ALL),
        ("partial", frozenset({"left_ball"})),
        ("none", None),
    ]
    cases = [write_case(folder, id, seed, annotated) for seed, (id, annotated) in enumerate(kinds)]
    cohort = Cohort(TABLE, (*cases, write_case(folder, "test", 99, ALL, role="test")))
    write_cohort(folder, cohort)
    return cohort


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe of two epochs of two steps."""
    return tiny_recipe()


def tiny_recipe(**training: object) -> Recipe:
    """The demo's recipe made smaller still; ``training`` changes settings of the training."""
    demo = load_preset("demo").student
    settings = {
        "epochs": 2,
        "iterations": 2,
        "validation_batches": 1,
        "checkpoint_seconds": 0.0,
        "warmup": 0,
        "partial": "background",
    } | training
    return replace(
        demo,
        network=replace(demo.network, features=(8, 16), strides=((1, 1, 1), (2, 2, 2))),
        data=replace(demo.data, spacing_mm=(5.0, 4.0, 4.0), patch=(16, 24, 24), batch=2),
        training=replace(demo.training, **settings),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def preset(tiny: Recipe) -> Preset:
    """A preset of two folds of that recipe."""
    return Preset("tiny", teachers=tiny, student=tiny, folds=2, select=SelectSettings())


Counter = Callable[[str, int, int], None]
