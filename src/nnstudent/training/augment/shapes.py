"""Shapes of painted lesions: balls, tubes and wedges with a rough surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnstudent.training.augment.physiology import Kind
from nnstudent.types import Float32Array, Float64Array

# How far a shape reaches from its center, over its radius; beyond, its box would cut it straight.
REACH = {"ball": 1.5, "wedge": 1.5, "tube": 3.3}


def draw_shape(
    kind: Kind,
    diameter: float,
    centre: Float64Array,
    size: Sequence[int],
    space: Float64Array,
    rng: np.random.Generator,
) -> Float32Array:
    """Draw a shape in a box.

    Args:
        kind: The kind, with its shape and how often it has lobes.
        diameter: In mm.
        centre: Center in mm from the first voxel, (z, y, x).
        size: Voxels of the box, (z, y, x).
        space: Spacing in mm, (z, y, x).
        rng: Draws everything.

    Returns:
        Approximate distance in mm to the border, positive within, (z, y, x).
    """
    z, y, x = (
        np.arange(n, dtype=np.float32) * mm - c
        for n, mm, c in zip(size, space, centre, strict=True)
    )
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"))
    radius = diameter / 2
    cap = np.float32(REACH[kind.shape] * radius) - np.sqrt((grid**2).sum(0))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rough = smooth_noise(size, space, max(radius, 4.0) * rng.uniform(0.5, 0.9), rng)
    if kind.shape == "tube":
        along = np.tensordot(turn[0], grid, 1) + rng.uniform(0.1, 0.3) * radius * rough * 4
        away = np.sqrt(np.maximum((grid**2).sum(0) - along**2, 0))
        return np.asarray(np.minimum(cap, radius * (1 + 0.2 * rough) - away), np.float32)
    if kind.shape == "wedge":
        sides = [np.tensordot(turn[i] * rng.uniform(0.7, 1.6), grid, 1) for i in range(2)]
        third = np.tensordot(turn[2], grid, 1)
        depth = (
            radius
            - np.maximum(np.maximum(np.abs(sides[0]), np.abs(sides[1])), np.abs(third))
            - 0.3 * third
        )
        return np.asarray(np.minimum(cap, depth + 0.2 * radius * rough), np.float32)
    lobes = np.full(tuple(size), -np.inf, np.float32)
    for number in range(int(rng.integers(2, 5)) if rng.random() < kind.lobed else 1):
        stretch = rng.uniform(0.75, 1.25, 3)
        stretch /= np.prod(stretch) ** (1 / 3)
        shift = rng.normal(size=3) * (0.45 * radius if number else 0.0)
        own = radius * (rng.uniform(0.45, 0.75) if number else rng.uniform(0.85, 1.0))
        turned = (
            np.tensordot(turn, grid - shift[:, None, None, None].astype(np.float32), 1)
            / stretch[:, None, None, None]
        )
        ball = np.asarray(own - np.sqrt((turned**2).sum(0)), np.float32)
        lobes = np.maximum(lobes, ball)
    return np.asarray(np.minimum(cap, lobes + rng.uniform(0.05, 0.22) * radius * rough), np.float32)


def smooth_noise(
    size: Sequence[int], space: Float64Array, width_mm: float, rng: np.random.Generator
) -> Float32Array:
    """Noise of deviation 1 that varies over ``width_mm``: coarse noise, interpolated."""
    knots = [max(2, int(np.ceil(n * mm / width_mm)) + 2) for n, mm in zip(size, space, strict=True)]
    coarse = rng.normal(size=knots).astype(np.float32)
    for axis, (n, knot) in enumerate(zip(size, knots, strict=True)):
        at = np.linspace(0, knot - 1.001, n)
        low = at.astype(int)
        shape = [1, 1, 1]
        shape[axis] = n
        share = (at - low).astype(np.float32).reshape(shape)
        share = share * share * (3 - 2 * share)
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(low + 1, axis) * share
    return np.asarray(coarse / max(float(coarse.std()), 1e-3), np.float32)
