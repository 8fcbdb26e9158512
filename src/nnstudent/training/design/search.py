"""A student for a budget: of many networks, spacings and patches the best that a machine runs in so many seconds and so much memory.

Pure: what a machine can do is measured elsewhere (:mod:`nnstudent.training.design.speed`) and given as data.
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

# What is considered. Windows in mm: the wide one spans a body, so that left is told from right.
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

# What an option is worth, in points of DSC, by rule of thumb: halving the spacing brings 6, doubling the width 2, a window
# twice as wide 2, and the cheaper kinds lose 1. No option's DSC is predicted by it; it only ranks what a budget leaves.
SPACING_POINTS, WIDTH_POINTS, WINDOW_POINTS = 6.0, 2.0, 2.0
KIND_POINTS = {"plain": 0.0, "strided_stem": -1.0, "separable": -1.0}

_STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))


@dataclass(frozen=True)
class Machine:
    """What a machine's processor does, measured.

    Attributes:
        name: Processor and cores, for people.
        network_seconds: By name of a network of :func:`networks`, seconds for a million voxels of a window, OpenVINO in fp32, and to
            add what it says to the sum.
        scan_seconds: Preparing, restoring and correcting, for a million voxels of a scan as it is stored.
        grid_seconds: The same, for a million voxels of the network's grid.
        base_mb: Memory of the process before it sees a scan, in MiB.
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
                f"calibration: networks {', '.join(unknown) or 'none'}; expected some of {', '.join(networks())}"
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
                "calibration: a figure that is not above 0; expected seconds and MiB, measure again"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, the shape that :meth:`from_dict` reads."""
        plain: dict[str, Any] = to_plain(self)
        return {**plain, "network_seconds": dict(self.network_seconds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> Machine:
        """Read a calibration.

        Raises:
            InputError: A figure is missing or no number.
        """
        try:
            record = Record(data, where)
            rest = (record.get(key, float) for key in ("scan_seconds", "grid_seconds", "base_mb"))
            return cls(
                record.get("name", str), record.get("network_seconds", dict[str, float]), *rest
            )
        except InputError as error:
            text = str(error) if str(error).startswith(where) else f"{where}: {error}"
            raise InputError(f"{text}; make a calibration by study --save-calibration") from error


@dataclass(frozen=True)
class Option:
    """One student, and what a scan costs it.

    Attributes:
        name: Its network, one of :func:`networks`.
        network: The network.
        spacing_mm: Its grid, (z, y, x).
        patch: Voxels of a window, (z, y, x).
        windows: How many a scan takes.
        seconds: For a scan.
        memory_mb: Peak, estimated, in MiB.
        worth: In points; more is better.
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
        """As plain data."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def applied(self, recipe: Recipe) -> Recipe:
        """The recipe with this network, spacing and patch; what it says of training stays."""
        return replace(
            recipe,
            network=self.network,
            data=replace(recipe.data, spacing_mm=self.spacing_mm, patch=self.patch),
        )


def networks() -> dict[str, Network]:
    """The networks considered, by name: of each kind some widths, one convolution at the finest resolution."""
    found = {}
    for width in WIDTHS:
        features = (width, 2 * width, 4 * width, 8 * width, 12 * width)
        whole = Network(
            features,
            _STRIDES,
            encoder_convolutions=(1, 2, 2, 2, 2),
            decoder_convolutions=(2, 2, 2, 1),
        )
        found[f"plain {width}"] = whole
        found[f"separable {width}"] = replace(whole, kind="separable")
        if width % 8 == 0:  # half of it is the width of the finest resolution
            found[f"strided_stem {width}"] = replace(
                whole, features=(width // 2, *features[1:]), kind="strided_stem"
            )
    return found


def options(machine: Machine, scan: Grid, *, classes: int) -> list[Option]:
    """Every network, spacing and window, costed for a scan; the most worthy first.

    Args:
        machine: Whose time it is; networks that it was not measured on are left out.
        scan: A scan of the size that is to be within the budget.
        classes: Channels of the output, background included.
    """
    measured = {
        name: network for name, network in networks().items() if name in machine.network_seconds
    }
    found = [
        _cost(name, network, spacing, window, machine, scan, classes)
        for name, network in measured.items()
        for spacing in SPACINGS
        for window in WINDOWS_MM
    ]
    return sorted(found, key=lambda option: (-option.worth, option.seconds))


def choose(considered: Sequence[Option], *, seconds: float, memory_mb: float) -> Option:
    """The most worthy that is within both; of equals the quickest.

    Raises:
        InputError: None is.
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
            f"no student runs in {seconds:g} s and {gigabytes(memory_mb):.1f} GB here; the quickest takes {least.seconds:.1f} s "
            f"and {gigabytes(least.memory_mb):.1f} GB, the smallest {small.seconds:.1f} s and {gigabytes(small.memory_mb):.1f} GB; "
            "raise the budget"
        )
    return min(fitting, key=lambda option: (-option.worth, option.seconds))


def shown(considered: Sequence[Option], chosen: Option) -> list[Option]:
    """Of each spacing and kind the options nearest the choice in cost: those that were passed over, in a table to read."""
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
    """The scan that nine of ten are smaller than, by what has to be resampled and looked at: extent, then voxels.

    Raises:
        InputError: There is none.
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
    # Floats of a window's finest resolution that live at once: what comes up, what comes across, both together, and the scores. On
    # the network's grid the image and the sum of scores; of the scan two bytes as read, one for labels, and slabs in between.
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
