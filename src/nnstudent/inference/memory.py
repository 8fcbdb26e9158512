"""Predicting the memory of a case before it runs, from its grid and the networks alone.

Resident memory peaks while the image is resampled to the network's grid, while windows run, while
labels are restored, or while the finished label map is measured. The class scores can be held slab
by slab, down to little more than one layer of windows, see
:func:`nnstudent.inference.windows.sliding.stream`. Everything else cannot be made smaller.
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
from nnstudent.inference.quality.shapes import coarse_steps
from nnstudent.inference.windows.accumulator import PIECE_BYTES
from nnstudent.inference.windows.sliding import padded_shape
from nnstudent.volume import Grid, Shape, Spacing

MIB = 2**20
MARGIN = 1.15  # for the allocator, and for what libraries hold
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
_COMPARING = 172 << 20  # pieces of a window and of the sums in a file, compared; measured
_FEATURES = 32  # at full resolution, of networks whose description does not say


@dataclass(frozen=True)
class MemoryPlan:
    """A plan for running a case within a memory limit.

    Attributes:
        planes: Planes of class scores that are held at once; None for all.
        peak_mb: Predicted peak of resident memory, in MiB.
        in_file: Whether they are held in a temporary file.
    """

    planes: int | None
    peak_mb: float
    in_file: bool = False


def parse_size(text: str) -> float:
    """Parse a size such as ``2GB`` (of 10⁹ bytes), ``1.5 GiB`` (of 2³⁰ bytes) or ``800MB``.

    Returns:
        The size in MiB.

    Raises:
        InputError: The text is not a size above 0.
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
    """Convert MiB to GB (10⁹ bytes)."""
    return mb * MIB / 1e9


def free_mb() -> float:
    """Memory that this process can still take, in MiB.

    That is what the machine has free, or what the process's control group leaves if that is less.
    """
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
    channels: Sequence[int] | None = None,
    windows: Sequence[int] | None = None,
) -> MemoryPlan:
    """Plan a case within a memory limit.

    Args:
        grid: The image's grid.
        networks: The networks, which run one after another.
        members: Number of members of each network.
        base_mb: Resident memory with engines loaded, before the image is read, in MiB.
        limit_mb: Limit of resident memory, in MiB.
        item_bytes: Bytes per voxel of the image.
        channels: How many values of each voxel are summed over the windows of each network; None
            for all of their classes.
        windows: Memory that a window takes in an engine of each network, in bytes; None for that
            of fp32.

    Returns:
        A plan that holds all class scores if they fit, otherwise as many planes as fit, otherwise
        as few as possible in a temporary file.

    Raises:
        InputError: The case cannot fit.
    """

    def peak_mb(planes: int | None, *, in_file: bool = False) -> float:
        return predict_peak_mb(
            grid,
            networks,
            members=members,
            base_mb=base_mb,
            planes=planes,
            item_bytes=item_bytes,
            channels=channels,
            windows=windows,
            in_file=in_file,
        )

    whole = peak_mb(None)
    if whole <= limit_mb:
        return MemoryPlan(None, whole)
    least = max(spec.patch[0] for spec in networks) + 1
    in_slabs = all(is_linear(grid, spec) for spec in networks)
    smallest, in_file = peak_mb(least) if in_slabs else whole, False
    if smallest > limit_mb and in_slabs:
        smallest, in_file = peak_mb(least, in_file=True), True
    if smallest > limit_mb:
        raise InputError(
            f"{grid}: needs {gigabytes(smallest):.2f} GB of memory, and may take "
            f"{gigabytes(limit_mb):.2f} GB; free some or raise --memory-limit, crop the image, or "
            "take a "
            "model with coarser voxels"
        )
    if in_file:
        return MemoryPlan(least, smallest, in_file=True)
    # More planes mean fewer slabs, each of which costs some time.
    planes, peak = least, smallest
    for more in range(2 * least, 16 * least, least):
        if (next_peak := peak_mb(more)) > limit_mb:
            break
        planes, peak = more, next_peak
    return MemoryPlan(planes, peak)


def predict_peak_mb(
    grid: Grid,
    networks: Sequence[NetworkSpec],
    *,
    members: Sequence[int],
    base_mb: float,
    planes: int | None,
    item_bytes: int = 2,
    channels: Sequence[int] | None = None,
    windows: Sequence[int] | None = None,
    in_file: bool = False,
) -> float:
    """Predict the peak of resident memory of a case, in MiB.

    For the arguments see :func:`plan`, and :class:`MemoryPlan` for ``planes`` and ``in_file``.
    """
    channels = channels or [len(spec.classes) for spec in networks]
    windows = windows or [
        window_bytes(spec, summed) for spec, summed in zip(networks, channels, strict=True)
    ]
    image = math.prod(grid.shape) * item_bytes
    reading = 2 * image  # as it comes out of the file, and as it is kept
    peak = max(reading, image + _measuring(grid))
    # The labels of one network are laid over those of the networks before.
    labels = math.prod(grid.shape) * min(2, len(networks))
    for spec, count, summed, window in zip(networks, members, channels, windows, strict=True):
        preparing = image + _preparing(grid, spec)
        # Each engine keeps what it needs for a window until its network has run.
        held, making = _running(
            grid, spec, planes=planes, members=count, channels=summed, in_file=in_file
        )
        # Sums in a file are handed over while the engines hold nothing of a window, but windows
        # are compared with those before them.
        most = max(count * window + _COMPARING, making) if in_file else count * window + making
        peak = max(peak, preparing, image + labels + held + most)
    return base_mb + MARGIN * peak / MIB


def _preparing(grid: Grid, spec: NetworkSpec) -> int:
    """Bytes that preprocessing holds beside the image."""
    shape = network_shape(grid, spec)
    values = math.prod(padded_shape(shape, spec.patch)) * 4
    # While resampling, all planes of the image are held at the network's resolution in plane,
    # beside the result.
    in_plane = _reoriented(grid, spec)[0][0] * shape[1] * shape[2] * 4
    return 2 * values + in_plane + math.prod(grid.shape) * _normalizing(spec) + (128 << 20)


def _running(
    grid: Grid,
    spec: NetworkSpec,
    *,
    planes: int | None,
    members: int,
    channels: int,
    in_file: bool,
) -> tuple[int, int]:
    """Bytes beside the image, the labels and the engines: those held, and those while restoring."""
    shape, classes = network_shape(grid, spec), len(spec.classes)
    padded = padded_shape(shape, spec.patch)
    plane = math.prod(padded[1:])
    values = math.prod(padded) * 4
    held = padded[0] if planes is None else min(planes, padded[0])
    # The sums, their weights, and one more channel while they are moved or divided.
    scores = held * plane * ((1 if in_file else channels) + 2) * 4
    making = 0
    at_once = held
    if planes is not None or channels < classes:  # logits are made and handed over in pieces
        at_once = min(held, max(2, PIECE_BYTES // (4 * classes * plane)))
        making = at_once * plane * (channels + classes) * 4
    mean = math.prod(spec.patch) * 4 * classes if members > 1 else 0
    # Best channels, where neighbors agree, and a slab of the image per thread.
    making += at_once * plane * 4 + (256 << 20)
    # Where a window is wider than the scan, scores are copied out of their padding to be resampled.
    if padded[1:] != shape[1:] and shape != _reoriented(grid, spec)[0]:
        making += at_once * math.prod(shape[1:]) * classes * 4
    return values + scores + mean, making


def _measuring(grid: Grid) -> int:
    """Bytes that labels and the measurements of them hold beside the image."""
    # The labels, and for a class that fills the image a mask, its pieces and what fills its holes.
    measured = math.prod(
        math.ceil(n / step) for n, step in zip(grid.shape, coarse_steps(grid), strict=True)
    )
    return math.prod(grid.shape) + 9 * measured


def network_shape(grid: Grid, spec: NetworkSpec) -> Shape:
    """Shape of a network's grid over a whole image, in voxels and the network's axes."""
    shape, spacing = _reoriented(grid, spec)
    return new_shape(shape, spacing, spec.spacing_mm)


def _reoriented(grid: Grid, spec: NetworkSpec) -> tuple[Shape, Spacing]:
    axes = list(range(3))
    if spec.orientation != "stored":
        # The patient axis of each stored axis, from the letters of (x, y, z) in either direction.
        codes = [
            ("LR", "PA", "IS").index(next(pair for pair in ("LR", "PA", "IS") if code in pair))
            for code in grid.axcodes
        ]
        axes = [2 - codes.index(wanted) for wanted in (2, 1, 0)]
    order = [axes[axis] for axis in spec.transpose]
    z, y, x = (grid.shape[axis] for axis in order)
    mm = [grid.spacing_mm[axis] for axis in order]
    return (z, y, x), (mm[0], mm[1], mm[2])


def is_linear(grid: Grid, spec: NetworkSpec) -> bool:
    """Whether scores are interpolated linearly or not at all, so that slabs of them suffice."""
    return max(axis_orders(spec.score_resampling, spec.spacing_mm, _reoriented(grid, spec)[1])) <= 1


def window_bytes(spec: NetworkSpec, channels: int, *, item_bytes: int = 4, outputs: int = 2) -> int:
    """Memory that an engine takes for a window, in bytes.

    Args:
        spec: The network.
        channels: Values that it gives for each voxel, as float32.
        item_bytes: Bytes of a value between layers.
        outputs: How many times the engine holds what it gives.
    """
    values = _features(spec) * 4 * item_bytes + outputs * channels * 4
    return math.prod(spec.patch) * values


def _normalizing(spec: NetworkSpec) -> int:
    """Bytes held per voxel of the image where intensities cannot be normalized in slabs."""
    scheme = spec.normalization
    if scheme.scheme in ("ct", "none"):
        return 0
    # The values and a copy of them; with a mask, two copies of those inside.
    return 4 + (12 if scheme.within_mask else 4)


def _features(spec: NetworkSpec) -> int:
    features = spec.architecture.kwargs.get("features_per_stage", _FEATURES)
    return int(features if isinstance(features, int) else features[0])


def _group_left() -> list[float]:
    """Memory that each limit of this process's control groups leaves, in bytes; Linux only."""
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
        for folder in (here, *here.parents):  # limits of parent groups hold too
            left += _left(folder, limit, used)
            if folder == root:
                break
    return left


def _left(folder: Path, limit: str, used: str) -> list[float]:
    try:
        highest = float((folder / limit).read_text("utf-8"))  # cgroup v2: "max" if there is none
        lines = (folder / "memory.stat").read_text("utf-8").splitlines()
        statistics = dict(line.split() for line in lines)
        # Cached files are given back when memory is needed.
        cached = float(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
        return [highest - float((folder / used).read_text("utf-8")) + cached]
    except (OSError, ValueError):
        return []
