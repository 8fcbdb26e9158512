"""Time and memory of segmenting each test case, by its size.

They come from profiles if there are any, otherwise from the seconds that the segmenter noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_grid

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Time and memory of one case.

    Attributes:
        id: The case.
        size: Voxels along the file's axes, (x, y, z) as stored; None if it is not known.
        seconds: Wall time.
        profiled: Whether ``nnstudent profile`` measured it, so that start-up and loading the model
            are included.
        peak_rss_mb: Largest resident memory of the process tree, in MiB; None if not measured.
        rss_area_mb_s: Area under it over time, in MiB·s; None if not measured.
        gpu: The same two figures of the GPU, in MiB and MiB·s, or the reason why there are none;
            None if not measured.
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
        """Number of voxels of the case; 0 if it is not known."""
        return prod(self.size) if self.size else 0


def profiled_cost(path: Path, size: tuple[int, ...] | None) -> Cost:
    """Read a file that ``nnstudent profile --json`` wrote.

    Args:
        path: The file, named after the case.
        size: See :class:`Cost`.

    Raises:
        InputError: The file is no profile, or the profiled command failed.
    """
    found: Mapping[str, Any] = read_json_table(path, what="a profile").get("profile") or {}
    if not isinstance(found.get("wall_seconds"), int | float):
        raise InputError(
            f"{path}: not a profile; write it with: nnstudent profile --json {path.name} -- COMMAND"
        )
    if found.get("exit_code") != 0:
        raise InputError(
            f"{path}: the profiled command failed (exit code {found.get('exit_code')}), so its "
            "figures say nothing; profile it again"
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
    """Choose at most ``most`` items, evenly, the first and the last among them."""
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]


def size_of(*places: Path | None) -> tuple[int, ...] | None:
    """Return the size of the first of these images that can be read, from its header alone."""
    for place in places:
        try:
            if place is not None and place.is_file():
                return read_grid(place).shape[::-1]
        except InputError:
            continue
    return None
