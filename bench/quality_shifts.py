"""Scans unlike those that a calibration rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnstudent.taxonomy import flare23
from nnstudent.types import Float64Array, LabelArray
from nnstudent.volume import Grid, Volume

# From values, labels, the longest axis (from foot to head or near it) and a generator, to both.
Shift = Callable[
    [Float64Array, LabelArray, int, np.random.Generator], tuple[Float64Array, LabelArray]
]
_FAT_HU, _AIR_HU = -100.0, -1000.0


def shifted(image: Volume, truth: Volume, name: str, *, seed: int) -> tuple[Volume, Volume]:
    """Shift a scan.

    Args:
        image: The image, in HU.
        truth: Its labels.
        name: One of :data:`SHIFTS`.
        seed: Seed of what is drawn at random.
    """
    along = next(3 - 1 - k for k, code in enumerate(image.grid.axcodes) if code in "SI")
    values, labels = SHIFTS[name](
        image.array.astype(np.float64), truth.array, along, np.random.default_rng(seed)
    )
    affine = image.grid.affine.copy()
    factor = image.array.shape[along] / values.shape[along]
    if name == "thick":
        affine[:3, 2 - along] *= round(factor)
        affine[:3, 3] += image.grid.affine[:3, 2 - along] * (round(factor) - 1) / 2
    grid = Grid(labels.shape, affine)
    return Volume(np.round(values).astype(np.int16), grid), Volume(
        np.ascontiguousarray(labels), grid
    )


def noise(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    return values + rng.normal(0, rng.uniform(40, 120), values.shape), labels


def thick(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    by = int(rng.integers(2, 4))
    size = values.shape[along] // by * by
    parts = [values.take(range(k, size, by), axis=along) for k in range(by)]
    return np.mean(parts, axis=0), labels.take(range(by // 2, size, by), axis=along)


def cut(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    size = values.shape[along]
    kept = round(size * rng.uniform(0.25, 0.5))
    first = int(rng.integers(0, size - kept + 1))
    planes = range(first, first + kept)
    return values.take(planes, axis=along), labels.take(planes, axis=along)


def phase(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    """As in the excretory phase: bright kidneys, vessels like muscle."""
    values = values.copy()
    for name, hu in (
        ("right_kidney", 180),
        ("left_kidney", 180),
        ("aorta", -70),
        ("inferior_vena_cava", -50),
        ("liver", -25),
        ("spleen", -35),
    ):
        values[labels == flare23()[name].id] += hu
    return values, labels


def missing(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    """An organ was taken out; fat is in its place."""
    name = str(rng.choice(["spleen", "right_kidney", "left_kidney", "gallbladder", "stomach"]))
    gone = labels == flare23()[name].id
    values, labels = values.copy(), labels.copy()
    values[gone] = rng.normal(_FAT_HU, 15, int(gone.sum()))
    labels[gone] = 0
    return values, labels


def streaks(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    """Streaks from metal in the spine, in a third of the slices."""
    values = values.copy()
    moved = np.moveaxis(values, along, 0)
    size = len(moved)
    first = int(rng.integers(0, size - size // 3))
    rows, columns = (np.arange(n) - n / 2 for n in moved.shape[1:])
    angle = np.arctan2(rows[:, None], columns[None, :])
    reach = np.hypot(rows[:, None], columns[None, :])
    for plane in moved[first : first + size // 3]:
        pattern = np.cos(rng.integers(6, 14) * angle + rng.uniform(0, 6))
        plane += 500 * pattern / (1 + reach / 8)
    return values, labels


def modality(
    values: Float64Array, labels: LabelArray, along: int, rng: np.random.Generator
) -> tuple[Float64Array, LabelArray]:
    """Not a CT: fat is bright, bone is dark, air is 0."""
    body = values > -400
    inverted = np.where(body, np.clip(300 - 1.5 * values, 0, 800), 0)
    return inverted * rng.uniform(0.5, 1.5), labels


SHIFTS: dict[str, Shift] = {
    "noise": noise,
    "thick": thick,
    "cut": cut,
    "phase": phase,
    "missing": missing,
    "streaks": streaks,
    "modality": modality,
}
