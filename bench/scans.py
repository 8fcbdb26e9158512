"""Phantoms of full size, and running `nnstudent segment` on them as a whole process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.phantom import scan_patient
from nnstudent.phantom.acquisition import Scan
from nnstudent.phantom.patient import draw_patient
from nnstudent.profiling.profile import profile

THICKNESS_MM = {
    55: 5.0,
    100: 2.5,
    150: 2.5,
    215: 2.5,
    334: 1.5,
    448: 1.25,
    499: 1.0,
    500: 1.0,
    554: 1.0,
}


@dataclass(frozen=True)
class Contender:
    """A model as a bundle, as an nnU-Net folder if there is one, and options of its own."""

    name: str
    bundle: Path | None
    folder: Path | None
    options: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        return open_model(self.bundle)


@dataclass(frozen=True)
class Run:
    """One process: its seconds, the peak memory of its tree in MB, and its report."""

    seconds: float
    peak_rss_mb: float
    report: dict[str, Any] | None = None


def full_scan(folder: Path, slices: int, *, plane: int, seed: int = 5) -> Path:
    """Write a phantom of a whole person and the truth of its organs.

    It is 410 mm wide in plane, with the abdomen in the middle.
    """
    if (folder / "truth.nii.gz").is_file():
        return folder
    rng = np.random.default_rng(seed)
    patient = next(
        one for one in iter(partial(draw_patient, rng, tumor=False), None) if one.gallbladder
    )
    spacing = (
        THICKNESS_MM.get(slices, min(5.0, 400 / slices)),
        0.8 * 512 / plane,
        0.8 * 512 / plane,
    )
    scan = Scan(
        shape=(slices, plane, plane),
        spacing_mm=spacing,
        center_mm=(0.0, 18 * patient.scale[1], -45 * patient.scale[2]),
        tilt_deg=(0.0, 0.0, 0.0),
        axcodes="LPS",
        noise_hu=14.0,
        grain_mm=0.8,
        blur_mm=1.7,
        round_field=False,
        whole=True,
    )
    case = scan_patient(patient, scan)
    write_image(folder / "images" / "ct_0000.nii.gz", case.image)
    write_labels(folder / "truth.nii.gz", case.organs)
    return folder


def run_ours(one: Contender, scan: Path, out: Path, *more: str) -> Run:
    report = out.with_name("report.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "nnstudent",
        "segment",
        str(scan / "images" / "ct_0000.nii.gz"),
        "-o",
        str(out),
    ]
    command += [
        *(["--model", str(one.bundle)] if one.bundle else []),
        "--report",
        str(report),
        *more,
    ]
    run = measured(command)
    return Run(run.seconds, run.peak_rss_mb, json.loads(report.read_text())["cases"][0])


def measured(command: Sequence[str]) -> Run:
    found = profile(command)
    if found.exit_code != 0:
        sys.exit(f"exit code {found.exit_code} of: {' '.join(command)}")
    return Run(found.wall_seconds, found.peak_rss_mb)
