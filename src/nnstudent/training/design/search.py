"""Find the best network, spacing and patch that a machine runs within a budget.

The budget is seconds and memory for one scan. Pure functions: the machine is measured elsewhere
(:mod:`nnstudent.training.design.speed`) and given as data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnstudent.errors import InputError
from nnstudent.inference.grid.resample import new_shape
from nnstudent.inference.memory import MIB, gigabytes
from nnstudent.inference.windows.sliding import dense_starts, padded_shape
from nnstudent.serialization import Record, to_plain
from nnstudent.training.recipe import Network, Recipe
from nnstudent.volume import Grid, Shape, Spacing

# The options. Windows are in mm: the widest spans a body, which tells left from right.
SPACINGS: tuple[Spacing, ...] = (
    (2.0, 1.5, 1.5),
    (2.5, 2.0, 2.0),
    (3.0, 2.0, 2.0),
    (4.0, 2.5, 2.5),
    (4.0, 3.0, 3.0),
    (5.0, 4.0, 4.0),
    (6.0, 5.0, 5.0),
)
WINDOWS_MM = ((192.0, 240.0, 400.0), (160.0, 200.0, 320.0), (128.0, 160.0, 256.0))
WIDTHS = (8, 12, 16, 24, 32)

# The worth of an option in points of DSC, by rule of thumb: halving the spacing adds 6, doubling
# the width 2, a window twice as wide 2, and the cheaper kinds lose 1. This predicts no option's
# DSC; it only ranks what a budget allows.
SPACING_POINTS, WIDTH_POINTS, WINDOW_POINTS = 6.0, 2.0, 2.0
KIND_POINTS = {"plain": 0.0, "strided_stem": -1.0, "separable": -1.0}

_STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))


@dataclass(frozen=True)
class Machine:
    """The measured speed of a machine's CPU.

    Attributes:
        name: CPU and cores, for people.
        network_seconds: By name of a network of :func:`networks`, seconds for a million voxels of a
            window with OpenVINO in fp32, including adding the scores to their sum.
        scan_seconds: Preprocessing, restoring and postprocessing a million voxels of a stored scan.
        grid_seconds: The same for a million voxels of the network's grid.
        base_mb: Memory of the process before it reads a scan, in MiB.
    """

    name: str
    network_seconds: Mapping[str, float]
    scan_seconds: float
    grid_seconds: float
    base_mb: float = 450.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.network_seconds) - set(networks()))
        if unknown or not self.network_seconds:
            raise InputError(
                f"calibration: networks {', '.join(unknown) or 'none'}; "
                f"expected some of {', '.join(networks())}"
            )
        if not all(
            0 < value < math.inf
            for value in (
                *self.network_seconds.values(),
                self.scan_seconds,
                self.grid_seconds,
                self.base_mb,
            )
        ):
            raise InputError(
                "calibration: a figure is not above 0; expected seconds and MiB, measure again"
            )

    def to_dict(self) -> dict[str, Any]:
        """The calibration as plain data, which :meth:`from_dict` reads."""
        plain: dict[str, Any] = to_plain(self)
        return {**plain, "network_seconds": dict(self.network_seconds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> Machine:
        """Read a calibration.

        Raises:
            InputError: A figure is missing or not a number.
        """
        try:
            record = Record(data, where)
            rest = (record.get(key, float) for key in ("scan_seconds", "grid_seconds", "base_mb"))
            return cls(
                record.get("name", str), record.get("network_seconds", dict[str, float]), *rest
            )
        except InputError as error:
            text = str(error) if str(error).startswith(where) else f"{where}: {error}"
            raise InputError(f"{text}; make one with study --save-calibration") from error


@dataclass(frozen=True)
class Option:
    """One possible student and its cost.

    Attributes:
        name: Name of its network in :func:`networks`.
        network: The network.
        spacing_mm: Spacing of its grid, (z, y, x).
        patch: Voxels of a window, (z, y, x).
        windows: Number of windows of a scan.
        seconds: Seconds for a scan.
        memory_mb: Estimated peak memory in MiB.
        worth: Its worth in points; more is better.
    """

    name: str
    network: Network
    spacing_mm: Spacing
    patch: Shape
    windows: int
    seconds: float
    memory_mb: float
    worth: float

    def to_dict(self) -> dict[str, Any]:
        """The option as plain data."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def applied(self, recipe: Recipe) -> Recipe:
        """A recipe with this network, spacing and patch; its training stays."""
        return replace(
            recipe,
            network=self.network,
            data=replace(recipe.data, spacing_mm=self.spacing_mm, patch=self.patch),
        )


def networks() -> dict[str, Network]:
    """The networks that are considered, by name.

    There are several widths of each kind, all with one convolution at the finest resolution.
    """
    named = {}
    for width in WIDTHS:
        features = (width, 2 * width, 4 * width, 8 * width, 12 * width)
        whole = Network(
            features,
            _STRIDES,
            encoder_convolutions=(1, 2, 2, 2, 2),
            decoder_convolutions=(2, 2, 2, 1),
        )
        named[f"plain {width}"] = whole
        named[f"separable {width}"] = replace(whole, kind="separable")
        if width % 8 == 0:  # half of it is the width of the finest resolution
            named[f"strided_stem {width}"] = replace(
                whole, features=(width // 2, *features[1:]), kind="strided_stem"
            )
    return named


def options(machine: Machine, scan: Grid, *, classes: int) -> list[Option]:
    """Every network, spacing and window with its cost for a scan, the most worthy first.

    Args:
        machine: The machine; networks that were not measured on it are left out.
        scan: Grid of a scan that the budget is for.
        classes: Channels of the output, background included.
    """
    measured = {
        name: network for name, network in networks().items() if name in machine.network_seconds
    }
    costed = [
        _cost(
            name,
            network,
            spacing=spacing,
            window=window,
            machine=machine,
            scan=scan,
            classes=classes,
        )
        for name, network in measured.items()
        for spacing in SPACINGS
        for window in WINDOWS_MM
    ]
    return sorted(costed, key=lambda option: (-option.worth, option.seconds))


def choose(considered: Sequence[Option], *, seconds: float, memory_mb: float) -> Option:
    """The most worthy option within the budget; the fastest among equals.

    Raises:
        InputError: No option is within the budget.
    """
    fitting = [
        option
        for option in considered
        if option.seconds <= seconds and option.memory_mb <= memory_mb
    ]
    if not fitting:
        least = min(considered, key=lambda option: option.seconds)
        small = min(considered, key=lambda option: option.memory_mb)
        raise InputError(
            f"no student runs in {seconds:g} s and {gigabytes(memory_mb):.1f} GB here; "
            f"the fastest takes {least.seconds:.1f} s and {gigabytes(least.memory_mb):.1f} GB, "
            f"the smallest {small.seconds:.1f} s and {gigabytes(small.memory_mb):.1f} GB; "
            "raise the budget"
        )
    return min(fitting, key=lambda option: (-option.worth, option.seconds))


def shown(considered: Sequence[Option], chosen: Option) -> list[Option]:
    """Options to show beside the choice: for each spacing and kind, the one closest in cost."""
    rows: dict[Any, Option] = {}
    for option in considered:
        key = (option.spacing_mm, option.network.kind)
        best = rows.get(key)
        distance = abs(math.log(option.seconds / chosen.seconds))
        if best is None or distance < abs(math.log(best.seconds / chosen.seconds)):
            rows[key] = option
    rows[(chosen.spacing_mm, chosen.network.kind)] = chosen
    return sorted(rows.values(), key=lambda option: -option.worth)


def typical(scans: Sequence[Grid]) -> Grid:
    """The scan that is larger than nine of ten, by extent, then by voxels.

    Raises:
        InputError: There is no scan.
    """
    if not scans:
        raise InputError("no scan of the cohort can be read; a budget is for scans of a size")
    ordered = sorted(
        scans, key=lambda grid: (math.prod(grid.shape) * grid.voxel_ml, math.prod(grid.shape))
    )
    return ordered[math.ceil(0.9 * len(ordered)) - 1]


def _cost(
    name: str,
    network: Network,
    *,
    spacing: Spacing,
    window: Spacing,
    machine: Machine,
    scan: Grid,
    classes: int,
) -> Option:
    patch = _patch(window, spacing, network.downsampling)
    padded = padded_shape(new_shape(scan.shape, scan.spacing_mm, spacing), patch)
    windows = len(dense_starts(padded, patch))
    millions, whole, on_grid = (
        math.prod(patch) / 1e6,
        math.prod(scan.shape) / 1e6,
        math.prod(padded) / 1e6,
    )
    network_seconds = windows * millions * machine.network_seconds[name]
    seconds = network_seconds + whole * machine.scan_seconds + on_grid * machine.grid_seconds
    finest = network.features[0]
    # Floats at a window's finest resolution that live at once: the upsampled maps, the skip, both
    # concatenated, and the scores. On the network's grid: the image and the sum of scores. For the
    # scan: two bytes as read, one for labels, and slabs in between.
    live = 4 * (4 * finest + 2 * classes) * millions + 4 * (classes + 2) * on_grid + 5 * whole
    worth = (
        -SPACING_POINTS * math.log2(math.prod(spacing)) / 3
        + WIDTH_POINTS * math.log2(network.features[1] / 2)
        + WINDOW_POINTS * math.log2(window[2] / WINDOWS_MM[0][2])
        + KIND_POINTS[network.kind]
    )
    return Option(
        name, network, spacing, patch, windows, seconds, machine.base_mb + live * 1e6 / MIB, worth
    )


def _patch(window: Spacing, spacing: Spacing, step: Shape) -> Shape:
    z, y, x = (
        max(1, round(mm / voxel / n)) * n
        for mm, voxel, n in zip(window, spacing, step, strict=True)
    )
    return z, y, x
