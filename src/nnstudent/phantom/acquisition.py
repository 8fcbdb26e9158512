"""Scanning a phantom: field of view, slice thickness, tilt, noise and orientation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.data_files import parse_toml
from nnstudent.errors import InputError
from nnstudent.phantom.patient import Patient
from nnstudent.phantom.shapes import rotated_axes
from nnstudent.volume import Grid, Volume

AXCODES = tuple(
    "".join(p)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for p in itertools.product(*axes)
)

LOW_DOSE = (1.6, 2.6)  # how many times as much noise a scan of low dose has


@dataclass(frozen=True)
class ScanPreset:
    """A range of scans; ranges are (lowest, highest).

    Attributes:
        size: Voxels per in-plane axis.
        spacing_mm: In-plane spacing.
        thickness_mm: Slice spacing.
        extent_mm: Length of the scan along the patient.
        whole: Probability that the whole abdomen is in view.
        oblique: Probability of a tilted grid.
        axcodes: Probability that the stored axes are any of the 48, rather than LPS, LAS or RAS.
        unusual: Probability of each unusual finding of the patient, and of a low dose.
    """

    size: int
    spacing_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    extent_mm: tuple[float, float]
    whole: float
    oblique: float
    axcodes: float
    unusual: float = 0.0


@cache
def scan_presets() -> dict[str, ScanPreset]:
    """The named presets."""
    table = parse_toml(
        files("nnstudent.phantom").joinpath("presets.toml").read_text("utf-8"),
        where="presets.toml",
        what="presets",
    )
    return {
        name: ScanPreset(
            size=row["size"],
            spacing_mm=(row["spacing_mm"][0], row["spacing_mm"][1]),
            thickness_mm=(row["thickness_mm"][0], row["thickness_mm"][1]),
            extent_mm=(row["extent_mm"][0], row["extent_mm"][1]),
            whole=row["whole"],
            oblique=row["oblique"],
            axcodes=row["axcodes"],
            unusual=row.get("unusual", 0.0),
        )
        for name, row in table.items()
    }


def find_scan_preset(name: str) -> ScanPreset:
    """The preset of this name.

    Raises:
        InputError: No preset has this name.
    """
    if name not in scan_presets():
        raise InputError(f"no phantom preset {name!r}; choose one of {', '.join(scan_presets())}")
    return scan_presets()[name]


@dataclass(frozen=True)
class Scan:
    """How one patient is scanned.

    Attributes:
        shape: Voxels (z, y, x) on the RAS-like grid, before its axes are reoriented.
        spacing_mm: Spacing along (z, y, x).
        center_mm: Center of the grid in patient coordinates (x, y, z), in mm.
        tilt_deg: Rotation of the grid about the patient's x, y and z axes.
        axcodes: Axes of the stored file.
        noise_hu: Standard deviation of the noise.
        grain_mm: In-plane correlation length of the noise.
        blur_mm: Width of an edge.
        round_field: Whether everything outside the scanner's round field of view is blank.
        whole: Whether the whole abdomen is in view along the patient.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    center_mm: tuple[float, float, float]
    tilt_deg: tuple[float, float, float]
    axcodes: str
    noise_hu: float
    grain_mm: float
    blur_mm: float
    round_field: bool
    whole: bool

    def grid(self) -> Grid:
        """The grid, before its axes are reoriented."""
        turn = rotated_axes(*self.tilt_deg).T
        scale = np.array(self.spacing_mm[::-1])
        affine = np.eye(4)
        affine[:3, :3] = turn * scale
        affine[:3, 3] = np.array(self.center_mm) - affine[:3, :3] @ (
            (np.array(self.shape[::-1]) - 1) / 2
        )
        return Grid(self.shape, affine)


def draw_scan(
    rng: np.random.Generator, preset: ScanPreset, patient: Patient, *, slices: int | None = None
) -> Scan:
    """Draw at random how a patient is scanned; ``slices`` fixes the number of slices."""
    if slices is not None and slices < 2:
        raise InputError(f"{slices} slices; expected at least 2")
    thickness = float(
        np.round(rng.choice([rng.uniform(*preset.thickness_mm), *preset.thickness_mm]), 2)
    )
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
    codes = (
        str(rng.choice(AXCODES))
        if rng.random() < preset.axcodes
        else str(rng.choice(["LPS", "LAS", "RAS"], p=[0.5, 0.25, 0.25]))
    )
    scan = Scan(
        shape=(count, preset.size, preset.size),
        spacing_mm=(thickness, spacing, spacing),
        center_mm=(
            float(rng.normal(0, 8)),
            float(18 * patient.scale[1] + rng.normal(0, 10)),
            float(middle),
        ),
        tilt_deg=(tilt[0], tilt[1], tilt[2]),
        axcodes=codes,
        noise_hu=float(
            np.clip(np.exp(rng.normal(np.log(13), 0.4)) * (2.5 / thickness) ** 0.35, 4, 45)
        ),
        grain_mm=float(rng.uniform(0.5, 1.2)),
        blur_mm=float(np.hypot(rng.uniform(1.2, 2.0), 0.7 * spacing)),
        round_field=bool(rng.random() < 0.4),
        whole=whole,
    )
    if preset.unusual and rng.random() < preset.unusual:
        scan = replace(scan, noise_hu=scan.noise_hu * float(rng.uniform(*LOW_DOSE)))
    return scan


def to_stored_axes(array: npt.NDArray[Any], scan: Scan) -> Volume:
    """The volume in the orientation of the stored file."""
    turned_volume = Volume(array, scan.grid()).reoriented(scan.axcodes)
    return Volume(np.ascontiguousarray(turned_volume.array), turned_volume.grid)
