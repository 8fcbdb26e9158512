"""Common parts of the anatomy: layers, random variation, the body cavity and the diaphragm.

Coordinates are in mm of the model anatomy: x towards the patient's right from the midline, y
anterior from the front of the vertebral bodies, z superior from the middle of L1. Lumbar vertebrae
are 36 mm apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnstudent.phantom.patient import Patient
from nnstudent.phantom.shapes import (
    FAR,
    Centerline,
    Controls,
    Field,
    Point,
    Space,
    centerline,
    curve,
)
from nnstudent.types import Float32Array

# The inside of the trunk by level: half width, half depth, and y of the middle, in mm.
_LEVELS = (-290, -240, -200, -160, -120, -70, 0, 60, 110, 150, 190)
_HALF_X = (58, 68, 86, 108, 120, 122, 127, 131, 124, 112, 95)
_HALF_Y = (60, 66, 74, 80, 84, 86, 89, 92, 90, 85, 72)
_MIDDLE = (8, 8, 12, 18, 22, 24, 22, 16, 8, 0, -8)
SQUARENESS = 2.3  # power of the superellipse that is the trunk's cross-section


@dataclass(frozen=True, eq=False)
class Layer:
    """One tissue of one structure.

    Attributes:
        name: Name of the structure.
        field: Shape of the structure.
        tissue: Name of the tissue.
        label: Value that the layer writes into the organ map; 0 erases, None changes nothing.
        lesion: Whether the layer is a lesion, which replaces organs.
    """

    name: str
    field: Field
    tissue: str
    label: int | None = None
    lesion: bool = False


def contour(z: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Half width, half depth and middle (y) of the inside of the trunk at a level, in mm."""
    return curve(z, _LEVELS, _HALF_X), curve(z, _LEVELS, _HALF_Y), curve(z, _LEVELS, _MIDDLE)


class Builder:
    """Tools for building the anatomy of one patient on one working grid.

    Attributes:
        space: The working grid.
        patient: The patient.
        rng: Generator of the random variation.
        trunk: Distance from the inner surface of the trunk's wall, in mm.
        below: Distance below the diaphragm, in mm.
        inside: The abdomen, inside the wall and below the diaphragm.
    """

    def __init__(self, space: Space, patient: Patient) -> None:
        self.space, self.patient = space, patient
        self.rng = np.random.default_rng([patient.seed, 2])
        self.trunk, self._q = self._wall()
        self.below = self._diaphragm()
        self.inside = Field(
            space.whole, np.minimum(self.trunk - np.float32(1.5), self.below - np.float32(3))
        )
        self._gap = np.maximum(
            np.float32(0.2 + 1.8 * patient.visceral) + np.float32(0.9) * space.rough[1],
            np.float32(-0.2),
        )

    def vary(self, controls: Controls, mm: float = 3.0, radius: float = 0.08) -> Centerline:
        """A centerline through control points whose positions and radii vary at random.

        ``mm`` is the scale of the shifts, of all points together and of each; ``radius`` that of
        the relative change in width.
        """
        points = np.asarray(controls, np.float64).copy()
        points[:, :3] += np.clip(self.rng.normal(0, mm * 0.7, 3), -2 * mm, 2 * mm)
        points[:, :3] += np.clip(
            self.rng.normal(0, mm * 0.6, (len(points), 3)), -1.3 * mm, 1.3 * mm
        )
        points[:, 3] *= self.size(radius)
        return centerline(points)

    def size(self, deviation: float = 0.07) -> float:
        """A random size factor."""
        return float(np.exp(np.clip(self.rng.normal(0, deviation), -2 * deviation, 2 * deviation)))

    def near(self, point: Point, mm: float) -> Point:
        """A random point near ``point``."""
        x, y, z = np.asarray(point) + np.clip(self.rng.normal(0, mm, 3), -1.8 * mm, 1.8 * mm)
        return float(x), float(y), float(z)

    def gap(self, field: Field) -> Float32Array:
        """Thickness of the fat between two organs in the box of ``field``, in mm.

        Organs touch where it is 0 or below.
        """
        return np.asarray(self._gap[field.box], np.float32)

    def _wall(self) -> tuple[Float32Array, Float32Array]:
        s = self.space
        half_x, half_y, middle = contour(s.z)
        dy = s.y - middle
        power = np.float32(SQUARENESS)
        q = ((np.abs(s.x) / half_x) ** power + (np.abs(dy) / half_y) ** power) ** (1 / power)
        r = np.hypot(s.x, dy)
        sdf = np.where(q > 0.05, r * (1 / np.maximum(q, np.float32(0.05)) - 1), np.float32(80))
        return np.asarray(sdf, np.float32), np.asarray(q, np.float32)

    def _diaphragm(self) -> Float32Array:
        s = self.space
        right = 22 * np.exp(-(((s.x - 62) / 55) ** 2) - ((s.y - 25) / 55) ** 2)
        left = 11 * np.exp(-(((s.x + 62) / 50) ** 2) - ((s.y - 20) / 50) ** 2)
        q = np.minimum(self._q, np.float32(1.15))
        # The diaphragm is attached high in front, at the xiphoid, and low at the back.
        steep = (
            70 + 40 * np.clip((20 - s.y) / 80, 0, 1) - 48 * np.clip((s.y - 40) / 55, 0, 1)
        ).astype(np.float32)
        q6 = q**6
        top = 91 + right + left - steep * q6 * q
        # The surface is steep near the wall: the height above it is turned into a distance.
        slope = steep * 7 * q6 / 120
        return np.asarray(np.clip((top - s.z) / np.sqrt(1.3 + slope * slope), FAR, 120), np.float32)
