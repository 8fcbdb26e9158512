"""How much memory a case takes, told before the work: from grid and network alone.

Resident memory is highest at one of three points: while the image is brought to the network's grid, while windows run, or while
labels are restored. What is held of the class scores can be made smaller, down to a little more than the windows of one layer:
then they are handed over slab by slab, see :func:`nnstudent.inference.windows.sliding.stream`. The rest cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.errors import InputError
from nnstudent.inference.grid.resample import axis_orders, new_shape
from nnstudent.inference.windows.sliding import padded_shape
from nnstudent.volume import Grid, Shape, Spacing

MIB = 2**20
MARGIN = 1.15  # of what is predicted: the allocator's, and what libraries hold for themselves
_UNITS = {
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_FEATURES = 32  # at full size, of networks that do not say


@dataclass(frozen=True)
class MemoryPlan:
    """How a case is run.

    Attributes:
        planes: How many planes of class scores are held at once; None for all.
        peak_mb: Predicted peak of resident memory, in MiB.
    """

    planes: int | None
    peak_mb: float


def parse_size(text: str) -> float:
    """Memory in MiB from what a person writes, such as ``2GB`` (10⁹ bytes each), ``1.5 GiB`` (2³⁰) or ``800MIB``.

    Raises:
        InputError: It is none, or not above 0.
    """
    number = text.strip().rstrip("BbIiKkMmGgTt").strip()
    unit = text.strip()[len(number) :].strip().upper()
    try:
        size = float(number) * _UNITS[unit if unit.endswith("B") else f"{unit}B"]
    except (ValueError, KeyError):
        size = math.nan
    if not 0 < size < math.inf:
        raise InputError(f"memory {text!r}; expected a size above 0 such as 800MB, 2GB or 1.5GiB")
    return size / MIB


def gigabytes(mb: float) -> float:
    """Memory in GB, which are 10⁹ bytes, from what it is in MiB."""
    return mb * MIB / 1e9


def free_mb() -> float:
    """Memory that this process can still take, in MiB: what the machine has free, or what its control group leaves if that is less."""
    return min([float(psutil.virtual_memory().available), *_group_left()]) / MIB


def peak_rss_mb() -> float:
    """Highest resident memory of this process so far, in MiB.

    Where the system does not record it, the present resident memory.
    """
    # Linux: getrusage would include what started this process until it had its own memory.
    with suppress(OSError):
        status = Path("/proc/self/status").read_text("ascii", "replace")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource  # not on Windows
        import sys
    except ImportError:
        info = psutil.Process().memory_info()
        return float(getattr(info, "peak_wset", info.rss)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def plan(
    grid: Grid,
    networks: Sequence[NetworkSpec],
    *,
    members: Sequence[int],
    base_mb: float,
    limit_mb: float,
    item_bytes: int = 2,
) -> MemoryPlan:
    """How a case is run within a limit.

    Args:
        grid: Of the image.
        networks: All that are run, one after the other.
        members: How many members each has.
        base_mb: Resident memory before the image is read, engines loaded, in MiB.
        limit_mb: What resident memory must stay under, in MiB.
        item_bytes: Of a voxel of the image.

    Returns:
        All class scores at once where they fit, else as many planes as do.

    Raises:
        InputError: The case cannot fit.
    """
    whole = predict_peak_mb(
        grid, networks, members=members, base_mb=base_mb, planes=None, item_bytes=item_bytes
    )
    if whole <= limit_mb:
        return MemoryPlan(None, whole)
    least = max(spec.patch[0] for spec in networks) + 1
    in_parts = all(_linear(grid, spec) for spec in networks)
    smallest = (
        predict_peak_mb(
            grid, networks, members=members, base_mb=base_mb, planes=least, item_bytes=item_bytes
        )
        if in_parts
        else whole
    )
    if smallest > limit_mb:
        raise InputError(
            f"{grid}: needs {math.ceil(smallest)} MiB of memory, and may take {math.floor(limit_mb)}; "
            "free some or raise --memory-limit, crop the image, or take a model with coarser voxels"
        )
    # More planes than the fewest are fewer slabs, each of which costs some time.
    planes = least
    for more in range(2 * least, 16 * least, least):
        if (
            predict_peak_mb(
                grid, networks, members=members, base_mb=base_mb, planes=more, item_bytes=item_bytes
            )
            > limit_mb
        ):
            break
        planes = more
    return MemoryPlan(
        planes,
        predict_peak_mb(
            grid, networks, members=members, base_mb=base_mb, planes=planes, item_bytes=item_bytes
        ),
    )


def predict_peak_mb(
    grid: Grid,
    networks: Sequence[NetworkSpec],
    *,
    members: Sequence[int],
    base_mb: float,
    planes: int | None,
    item_bytes: int = 2,
) -> float:
    """Peak of resident memory of a case, in MiB; for the arguments see :func:`plan`, and ``planes`` as in :class:`Plan`."""
    voxels = math.prod(grid.shape)
    image, labels = voxels * item_bytes, voxels
    reading = 2 * image  # as it comes out of the file, and as it is kept
    peak = reading
    # Each engine keeps what it needs for a window, once it has run.
    windows = sum(count * _window(spec) for spec, count in zip(networks, members, strict=True))
    for spec, count in zip(networks, members, strict=True):
        shape = network_shape(grid, spec)
        padded = padded_shape(shape, spec.patch)
        plane = math.prod(padded[1:])
        values = math.prod(padded) * 4
        # While resampling: all planes of the image on the network's grid in plane, beside the result.
        preparing = (
            image
            + 2 * values
            + _resampled_in_plane(grid, shape, spec) * 4
            + voxels * _normalising(spec)
            + (128 << 20)
        )
        held = padded[0] if planes is None else min(planes, padded[0])
        channels = len(spec.classes)
        scores = held * plane * (channels + 1) * 4
        if planes is not None and planes < padded[0]:
            scores += (
                spec.patch[0] * plane * (channels + 1) * 4
            )  # what stays for the next slab, while one is handed over
        mean = math.prod(spec.patch) * 4 * channels if count > 1 else 0
        restoring = held * plane * 4 + (
            256 << 20
        )  # best channels, and where neighbours agree; a slab of the image a thread
        # Where a window is wider than the scan, the scores are copied out of their padding to be interpolated.
        if padded[1:] != shape[1:] and shape != _turned(grid, spec)[0]:
            restoring += held * math.prod(shape[1:]) * channels * 4
        running = image + 2 * labels + values + scores + windows + mean + restoring
        peak = max(peak, preparing, running)
    return base_mb + MARGIN * peak / MIB


def network_shape(grid: Grid, spec: NetworkSpec) -> Shape:
    """Voxels of a network's grid over the whole of an image, in the network's axes."""
    shape, spacing = _turned(grid, spec)
    return new_shape(shape, spacing, spec.spacing_mm)


def _turned(grid: Grid, spec: NetworkSpec) -> tuple[Shape, Spacing]:
    axes = list(range(3))
    if spec.orientation != "stored":
        # Which stored axis (z, y, x) becomes which: the letters of (x, y, z), whatever their sign.
        codes = [
            ("LR", "PA", "IS").index(next(pair for pair in ("LR", "PA", "IS") if code in pair))
            for code in grid.axcodes
        ]
        axes = [2 - codes.index(wanted) for wanted in (2, 1, 0)]
    order = [axes[axis] for axis in spec.transpose]
    z, y, x = (grid.shape[axis] for axis in order)
    mm = [grid.spacing_mm[axis] for axis in order]
    return (z, y, x), (mm[0], mm[1], mm[2])


def _resampled_in_plane(grid: Grid, shape: Shape, spec: NetworkSpec) -> int:
    return _turned(grid, spec)[0][0] * shape[1] * shape[2]


def _linear(grid: Grid, spec: NetworkSpec) -> bool:
    return max(axis_orders(spec.score_resampling, spec.spacing_mm, _turned(grid, spec)[1])) <= 1


def _window(spec: NetworkSpec) -> int:
    return math.prod(spec.patch) * 4 * (_features(spec) * 4 + 2 * len(spec.classes))


def _normalising(spec: NetworkSpec) -> int:
    """Bytes a voxel of the image that are held at once where intensities are not brought to their range slab by slab."""
    scheme = spec.normalization
    if scheme.scheme in ("ct", "none"):
        return 0
    return 4 + (
        12 if scheme.within_mask else 4
    )  # the values, and a copy; of those inside, with masks, two


def _features(spec: NetworkSpec) -> int:
    features = spec.architecture.kwargs.get("features_per_stage", _FEATURES)
    return int(features if isinstance(features, int) else features[0])


def _group_left() -> list[float]:
    """What the control groups of this process leave it, in bytes; Linux only, none where there is no limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    left: list[float] = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        here = root / name.lstrip("/")
        for folder in (here, *here.parents):  # a group is held to the limits of those above it too
            left += _left(folder, limit, used)
            if folder == root:
                break
    return left


def _left(folder: Path, limit: str, used: str) -> list[float]:
    try:
        highest = float(
            (folder / limit).read_text("utf-8")
        )  # cgroup v2 writes max where there is none
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines()
        )
        cached = float(
            statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
        )  # given back when needed
        return [highest - float((folder / used).read_text("utf-8")) + cached]
    except (OSError, ValueError):
        return []
