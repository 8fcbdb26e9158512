"""What segmenting each test case took, by its size: from profiles where there are some, else the time that the segmenter noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib

from nnstudent.errors import InputError
from nnstudent.serialization import read_json_table

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """One case.

    Attributes:
        id: The case.
        size: Voxels along the file's axes, (x, y, z) as stored; None where it is not known.
        seconds: Wall time.
        profiled: Whether start-up and loading the model are in it, as ``nnstudent profile`` measures.
        peak_rss_mb: Largest resident memory of the process tree, in MiB; None where it was not measured.
        rss_area_mb_s: Area under it over time, in MiB·s.
        gpu: The same two of the GPU, in MiB and MiB·s, or the words that say why there are none; None where it was not measured.
    """

    id: str
    size: tuple[int, ...] | None
    seconds: float
    profiled: bool
    peak_rss_mb: float | None = None
    rss_area_mb_s: float | None = None
    gpu: tuple[float, float] | str | None = None

    @property
    def voxels(self) -> int:
        """How many voxels the case has; 0 where it is not known."""
        return prod(self.size) if self.size else 0


def profiled_cost(path: Path, size: tuple[int, ...] | None) -> Cost:
    """Read what ``nnstudent profile --json`` wrote.

    Raises:
        InputError: It is of something else, or the command failed.
    """
    found: Mapping[str, Any] = read_json_table(path, what="a profile").get("profile") or {}
    if not isinstance(found.get("wall_seconds"), int | float):
        raise InputError(
            f"{path}: not a profile; write it with: nnstudent profile --json {path.name} -- COMMAND"
        )
    if found.get("exit_code") != 0:
        raise InputError(
            f"{path}: the profiled command failed (exit code {found.get('exit_code')}), so what it took says nothing"
        )
    gpu, area = found.get("peak_gpu_mb"), found.get("gpu_area_mb_s")
    both = isinstance(gpu, int | float) and isinstance(area, int | float)
    return Cost(
        path.stem,
        size,
        float(found["wall_seconds"]),
        profiled=True,
        peak_rss_mb=float(found["peak_rss_mb"]),
        rss_area_mb_s=float(found["rss_area_mb_s"]),
        gpu=(float(gpu or 0), float(area or 0)) if both else str(gpu),
    )


def spread_out(ordered: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly, the first and the last among them."""
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]


def size_of(*places: Path | None) -> tuple[int, ...] | None:
    """Size of the first of these images that can be read, from its header alone."""
    for place in places:
        try:
            if place is not None and place.is_file():
                return tuple(int(count) for count in nib.load(place).shape[:3])
        except (OSError, ValueError, nib.filebasedimages.ImageFileError):
            continue
    return None
