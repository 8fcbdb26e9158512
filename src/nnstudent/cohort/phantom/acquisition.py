"""From the model anatomy to a scan: field of view, slice thickness, partial volume, noise, orientation."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nnstudent.cohort.phantom.build import Layer
from nnstudent.cohort.phantom.appearance import Look
from nnstudent.cohort.phantom.patient import Patient
from nnstudent.cohort.phantom.shapes import Array, Field, Space, turned
from nnstudent.errors import InputError
from nnstudent.volume import Grid, Volume

_PITCH_MM = 2.5
_SLAB_VOXELS = 4_000_000
AXCODES = tuple("".join(p) for axes in itertools.permutations(("RL", "AP", "SI")) for p in itertools.product(*axes))


@dataclass(frozen=True)
class Preset:
    """What is scanned; ranges are (least, most).

    Attributes:
        size: Voxels in plane.
        spacing_mm: In plane.
        thickness_mm: Slice distance.
        extent_mm: Length of the scan along the patient.
        whole: Chance that the whole abdomen is in view.
        oblique: Chance of a tilted grid.
        axcodes: Chance that the stored axes are any of the 48, not RAS or LPS.
    """

    size: int
    spacing_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    extent_mm: tuple[float, float]
    whole: float
    oblique: float
    axcodes: float


@cache
def presets() -> dict[str, Preset]:
    """The named presets."""
    table = tomllib.loads(files("nnstudent.cohort.phantom").joinpath("presets.toml").read_text("utf-8"))
    return {name: Preset(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for name, row in table.items()}


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        InputError: There is none.
    """
    if name not in presets():
        raise InputError(f"no phantom preset {name!r}; choose one of {', '.join(presets())}")
    return presets()[name]


@dataclass(frozen=True)
class Scan:
    """How one patient is scanned.

    Attributes:
        shape: Voxels (z, y, x) on the RAS-like grid, before its axes are turned.
        spacing_mm: (z, y, x).
        center_mm: Place of the grid's centre in patient mm (x, y, z).
        tilt_deg: Rotation of the grid about the patient's x, y and z.
        axcodes: Axes of the stored file.
        noise_hu: Deviation of the noise.
        blur_mm: Width of an edge.
        whole: Whether the whole abdomen is in view along the patient.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    center_mm: tuple[float, float, float]
    tilt_deg: tuple[float, float, float]
    axcodes: str
    noise_hu: float
    blur_mm: float
    whole: bool

    def grid(self) -> Grid:
        """The grid, before its axes are turned."""
        turn = turned(*self.tilt_deg).T
        scale = np.array(self.spacing_mm[::-1])
        affine = np.eye(4)
        affine[:3, :3] = turn * scale
        affine[:3, 3] = np.array(self.center_mm) - affine[:3, :3] @ ((np.array(self.shape[::-1]) - 1) / 2)
        return Grid(self.shape, affine)


def draw_scan(rng: np.random.Generator, preset: Preset, patient: Patient, *, slices: int | None = None) -> Scan:
    """Draw how a patient is scanned; ``slices`` fixes how many slices there are."""
    thickness = float(np.round(rng.choice([rng.uniform(*preset.thickness_mm), *preset.thickness_mm]), 2))
    spacing = float(np.round(rng.uniform(*preset.spacing_mm), 4))
    whole = bool(rng.random() < preset.whole)
    sz = patient.scale[2]
    low, high = -215 * sz, 128 * sz
    if whole:
        bottom, top = low - rng.uniform(0, 40), high + rng.uniform(0, 35)
        length = max(top - bottom, preset.extent_mm[0])
        middle = (bottom + top) / 2
    else:
        length = float(rng.uniform(*preset.extent_mm)) * 0.75
        middle = float(rng.uniform(-80, 90)) * sz
    count = slices or max(8, round(length / thickness))
    if slices and whole:
        thickness = float(np.round(np.clip(length / slices, 0.4, 5.0), 2))
    oblique = rng.random() < preset.oblique
    tilt = tuple(float(v) for v in rng.normal(0, (6, 3, 5))) if oblique else (0.0, 0.0, 0.0)
    codes = str(rng.choice(AXCODES)) if rng.random() < preset.axcodes else str(rng.choice(["LPS", "LAS", "RAS"], p=[0.5, 0.25, 0.25]))
    return Scan(
        shape=(count, preset.size, preset.size),
        spacing_mm=(thickness, spacing, spacing),
        center_mm=(float(rng.normal(0, 8)), float(18 * patient.scale[1] + rng.normal(0, 10)), float(middle)),
        tilt_deg=(tilt[0], tilt[1], tilt[2]),
        axcodes=codes,
        noise_hu=float(np.clip(np.exp(rng.normal(np.log(13), 0.4)) * (2.5 / thickness) ** 0.35, 4, 45)),
        blur_mm=float(rng.uniform(1.3, 2.2)),
        whole=whole,
    )


class Nodes:
    """The working grid along each axis, in voxel indices of the scan."""

    def __init__(self, scan: Scan) -> None:
        self.parts = [1, 1, 1]
        self.at: list[npt.NDArray[np.float64]] = []
        for axis, (n, mm) in enumerate(zip(scan.shape, scan.spacing_mm, strict=True)):
            parts = max(1, round(mm / _PITCH_MM)) if axis == 0 else 1
            self.parts[axis] = parts
            pitch = 1 / parts if mm / parts >= 0.8 * _PITCH_MM else _PITCH_MM / mm
            count = int(np.ceil((n - 1 / parts) / pitch - 1e-6)) + 1
            start = -0.5 + 0.5 / parts
            self.at.append(start + pitch * np.arange(max(count, 2)))


def smooth_noise(rng: np.random.Generator, places: Sequence[npt.NDArray[np.float64]], wave_mm: float) -> Array:
    """A smooth random field of unit deviation at the crossings of places (mm along z, y, x)."""
    weights, shape = [], []
    for at in places:
        first = np.floor(at.min() / wave_mm) - 2
        count = int(np.ceil(at.max() / wave_mm) - first) + 3
        distance = np.abs(at[:, None] / wave_mm - first - np.arange(count)[None])
        cubic = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
        weights.append((cubic / 0.692).astype(np.float32))  # 0.692: root of the mean sum of squared weights
        shape.append(count)
    lattice = rng.standard_normal(shape).astype(np.float32)
    out = np.tensordot(weights[0], lattice, (1, 0))
    out = np.tensordot(out, weights[2], (2, 1))
    return np.ascontiguousarray(np.tensordot(weights[1], out, (1, 1)).transpose(1, 0, 2))


def make_space(scan: Scan, patient: Patient) -> tuple[Space, Nodes]:
    """The working grid of a scan, with the patient's build and individual deformation."""
    nodes = Nodes(scan)
    grid = scan.grid()
    places = [at * mm for at, mm in zip(nodes.at, scan.spacing_mm, strict=True)]
    k, j, i = (v.astype(np.float32) for v in nodes.at)
    a = grid.affine.astype(np.float32)
    world = [a[c, 0] * i[None, None, :] + a[c, 1] * j[None, :, None] + a[c, 2] * k[:, None, None] + a[c, 3] for c in range(3)]
    rng = np.random.default_rng([patient.seed, 3])
    model = []
    for c in range(3):
        moved = world[c] / np.float32(patient.scale[c])
        moved = moved + smooth_noise(rng, places, 105.0) * np.float32(4.0) + smooth_noise(rng, places, 42.0) * np.float32(1.5)
        model.append(moved.astype(np.float32))
    rough = [smooth_noise(rng, places, wave) for wave in (9.0, 16.0, 26.0)]
    space = Space(model[0], model[1], model[2], rough)
    space.world = (world[0], world[1], world[2])
    return space, nodes


def table_layers(space: Space, body: Field) -> list[Layer]:
    """The table under the patient: a shell about foam, its top curved."""
    x, y, _ = np.broadcast_arrays(*space.world)
    inside = body.sdf > 0
    back = float(np.percentile(y[body.box][inside], 0.3)) - 5 if inside.any() else -130.0
    top = back - 6 + 0.0007 * x * x
    bottom = back - 42 + 0.0012 * x * x
    shape = np.minimum(np.minimum(top - y, y - bottom), 215 - np.abs(x))
    whole = Field(space.whole, np.clip(shape, -30, 30).astype(np.float32))
    return [Layer("table", whole, "table shell"), Layer("table foam", whole.shrunk(2.0), "table foam")]


def _between(nodes: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], Array]:
    """For places along an axis: the node before, and how far towards the next."""
    pitch = nodes[1] - nodes[0]
    where = np.clip((at - nodes[0]) / pitch, 0, len(nodes) - 1.000001)
    before = np.minimum(np.floor(where + 1e-6).astype(np.intp), len(nodes) - 2)
    return before, np.clip(where - before, 0, 1).astype(np.float32)


def _stretch(values: Array, axis: int, before: npt.NDArray[np.intp], part: Array) -> Array:
    if np.all(part == 0):
        return values.take(before, axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    w = part.reshape(shape)
    low = values.take(before, axis)
    high = values.take(np.minimum(before + 1, values.shape[axis] - 1), axis)
    high -= low
    high *= w
    high += low
    return high


def render(
    scan: Scan, nodes: Nodes, space: Space, layers: Sequence[Layer], looks: dict[str, Look], rng: np.random.Generator
) -> tuple[Any, Any]:
    """Draw the layers slab by slab: HU (int16) and truth (uint8), both (z, y, x)."""
    nz, ny, nx = scan.shape
    image = np.empty(scan.shape, np.int16)
    truth = np.zeros(scan.shape, np.uint8)
    step = max(1, _SLAB_VOXELS // (ny * nx * nodes.parts[0]))
    plane = [_between(nodes.at[1], np.arange(ny, dtype=np.float64)), _between(nodes.at[2], np.arange(nx, dtype=np.float64))]
    places = [at * mm for at, mm in zip((nodes.at[0], nodes.at[1], nodes.at[2]), scan.spacing_mm, strict=True)]
    fine = smooth_noise(rng, places, 4.0) if min(len(p) for p in places) > 1 else np.zeros_like(space.x)
    for start in range(0, nz, step):
        stop = min(nz, start + step)
        parts = nodes.parts[0]
        at = (np.arange(start * parts, stop * parts) + 0.5) / parts - 0.5
        along = _between(nodes.at[0], at)
        hu, labels = _slab(along, plane, parts, layers, looks, (fine, space.rough[1]), scan)
        noise = _noise(rng, hu.shape, scan)
        image[start:stop] = np.clip(np.rint(hu + noise), -1024, 3071)
        truth[start:stop] = labels
    return image, truth


def _slab(
    along: Any, plane: Any, parts: int, layers: Sequence[Layer], looks: dict[str, Look], textures: tuple[Array, Array], scan: Scan
) -> tuple[Array, Any]:
    axes = [along, *plane]
    shape = (len(along[0]), len(plane[0][0]), len(plane[1][0]))
    hu = np.full(shape, -1000.0, np.float32)
    labels = np.zeros((shape[0] // parts, *shape[1:]), np.uint8)
    grain = [_whole(texture, axes) for texture in textures]
    for layer in layers:
        take, window = [], []
        for (before, part), span in zip(axes, layer.field.box, strict=True):
            inside = np.flatnonzero((before >= span.start - 1) & (before < span.stop))
            if not inside.size:
                break
            low, high = int(inside[0]), int(inside[-1]) + 1
            window.append((low, high))
            take.append((before[low:high], part[low:high]))
        if len(window) < 3:
            continue
        if parts > 1:  # whole slices only, so that labels can be averaged
            low, high = window[0][0] // parts * parts, -(-window[0][1] // parts) * parts
            window[0] = (low, high)
            take[0] = (along[0][low:high], along[1][low:high])
        sdf = _field(layer.field, take)
        to = tuple(slice(a, b) for a, b in window)
        look = looks[layer.tissue]
        share = np.clip(sdf * np.float32(1 / scan.blur_mm) + np.float32(0.5), 0, 1)
        value = np.float32(look.hu) + np.float32(look.fine) * grain[0][to] + np.float32(look.coarse) * grain[1][to]
        value -= hu[to]
        value *= share
        hu[to] += value
        if layer.label is not None:
            if parts > 1:
                sdf = sdf.reshape(-1, parts, *sdf.shape[1:]).mean(1)
            labels[slice(to[0].start // parts, to[0].stop // parts), to[1], to[2]][sdf > 0] = layer.label
    if parts > 1:
        hu = hu.reshape(-1, parts, *shape[1:]).mean(1)
    return hu, labels


def _whole(values: Array, axes: Any) -> Array:
    for axis, (before, part) in enumerate(axes):
        values = _stretch(values, axis, before, part)
    return values


def _field(field: Field, take: Any) -> Array:
    """A field's distances at the places taken; a margin of one node stands for what lies outside of its box."""
    values = np.pad(field.sdf, 1, constant_values=-8.0)
    for axis, ((before, part), span) in enumerate(zip(take, field.box, strict=True)):
        values = _stretch(values, axis, np.clip(before - span.start + 1, 0, values.shape[axis] - 1), part)
    return values


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scan: Scan) -> Array:
    """Noise as of filtered back projection: correlated over about two voxels in plane, hardly along z."""
    white = rng.standard_normal(shape, dtype=np.float32)
    sigma = 0.9 / scan.spacing_mm[1]
    if sigma < 0.35:
        return white * np.float32(scan.noise_hu)
    soft = ndimage.gaussian_filter(white, (0, sigma, sigma), truncate=2.5)
    return np.asarray(soft * np.float32(scan.noise_hu / max(float(soft.std()), 1e-6)), np.float32)


def finish(array: npt.NDArray[Any], scan: Scan) -> Volume:
    """The volume with the axes of the stored file."""
    turned_volume = Volume(array, scan.grid()).reoriented(scan.axcodes)
    return Volume(np.ascontiguousarray(turned_volume.array), turned_volume.grid)
