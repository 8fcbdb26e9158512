"""The working grid of a scan: coarse, aligned with the image, deformed to the patient's anatomy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnstudent.phantom.acquisition import Scan
from nnstudent.phantom.build import Layer
from nnstudent.phantom.patient import Patient
from nnstudent.phantom.shapes import Field, Space, rotated_axes
from nnstudent.types import Float32Array, Float64Array

_PITCH_MM = 2.5
_SPLINE_RMS = 0.692  # root of the mean sum of squared weights of a cubic B-spline along one axis


class Nodes:
    """The nodes of the working grid along each axis, in voxel indices of the scan.

    Attributes:
        at: Positions of the nodes along z, y and x.
        parts: Number of thinner slices from which a slice is averaged.
    """

    def __init__(self, scan: Scan) -> None:
        self.parts = max(1, round(scan.spacing_mm[0] / _PITCH_MM))
        self.at: list[Float64Array] = []
        for axis, (n, mm) in enumerate(zip(scan.shape, scan.spacing_mm, strict=True)):
            parts = self.parts if axis == 0 else 1
            pitch = 1 / parts if mm / parts >= 0.8 * _PITCH_MM else _PITCH_MM / mm
            count = int(np.ceil((n - 1 / parts) / pitch - 1e-6)) + 1
            start = -0.5 + 0.5 / parts
            self.at.append(np.asarray(start + pitch * np.arange(max(count, 2)), np.float64))


def smooth_noise(
    rng: np.random.Generator, places: Sequence[Float64Array], wave_mm: float
) -> Float32Array:
    """A smooth random field with a standard deviation of 1: a cubic B-spline.

    Args:
        rng: Generator of the spline's coefficients.
        places: Positions along z, y and x, in mm; the field is known at their crossings.
        wave_mm: Distance of the spline's knots.
    """
    # Summed term by term, because a matrix product rounds depending on the number of threads.
    first = [np.floor(at / wave_mm).astype(np.intp) - 1 for at in places]
    shape = [int(index[-1] - index[0]) + 4 for index in first]
    values = rng.standard_normal(shape).astype(np.float32)
    for axis, (at, index) in enumerate(zip(places, first, strict=True)):
        f = at / wave_mm - (index + 1)
        taps = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
        spread = [-1 if a == axis else 1 for a in range(3)]
        out = np.zeros([*values.shape[:axis], len(at), *values.shape[axis + 1 :]], np.float32)
        for number, tap in enumerate(taps):
            part = values.take(index - index[0] + number, axis)
            part *= (tap / 6 / _SPLINE_RMS).astype(np.float32).reshape(spread)
            out += part
        values = out
    return values


def make_space(scan: Scan, patient: Patient) -> tuple[Space, Nodes]:
    """The working grid of a scan, with the patient's size, pose and individual deformation."""
    nodes = Nodes(scan)
    grid = scan.grid()
    places = [at * mm for at, mm in zip(nodes.at, scan.spacing_mm, strict=True)]
    k, j, i = (v.astype(np.float32) for v in nodes.at)
    a = grid.affine.astype(np.float32)
    world = [
        a[c, 0] * i[None, None, :]
        + a[c, 1] * j[None, :, None]
        + a[c, 2] * k[:, None, None]
        + a[c, 3]
        for c in range(3)
    ]
    rng = np.random.default_rng([patient.seed, 3])
    pose = rotated_axes(*patient.pose_deg).astype(np.float32)
    model = []
    for c in range(3):
        lying = pose[c, 0] * world[0] + pose[c, 1] * world[1] + pose[c, 2] * world[2]
        moved = lying / np.float32(patient.scale[c])
        moved = (
            moved
            + smooth_noise(rng, places, 105.0) * np.float32(4.0)
            + smooth_noise(rng, places, 42.0) * np.float32(1.5)
        )
        model.append(moved.astype(np.float32))
    rough = [smooth_noise(rng, places, wave) for wave in (9.0, 16.0, 26.0)]
    return Space(model[0], model[1], model[2], rough, world=(world[0], world[1], world[2])), nodes


def table_layers(space: Space, body: Field) -> list[Layer]:
    """The table under the patient: a shell filled with foam, with a curved top."""
    x, y, _ = np.broadcast_arrays(*space.world)
    inside = body.sdf > 0
    back = float(np.percentile(y[body.box][inside], 0.3)) - 5 if inside.any() else -130.0
    top = back - 6 + 0.0007 * x * x
    bottom = back - 42 + 0.0012 * x * x
    shape = np.minimum(np.minimum(top - y, y - bottom), 215 - np.abs(x))
    whole = Field(space.whole, np.clip(shape, -30, 30).astype(np.float32))
    return [
        Layer("table", whole, "table shell"),
        Layer("table foam", whole.shrunk(2.0), "table foam"),
    ]
