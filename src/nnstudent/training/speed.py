"""How fast this machine runs networks and resamples scans, measured in a minute."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence

import numpy as np

from nnstudent.bundle import graph
from nnstudent.bundle.network import build
from nnstudent.bundle.spec import Architecture, NetworkSpec, Normalization, Resampling
from nnstudent.errors import require
from nnstudent.inference.preprocess import preprocess
from nnstudent.inference.restore import restore
from nnstudent.inference.scores import Scores
from nnstudent.progress import Progress, silent
from nnstudent.training.budget import Machine, networks
from nnstudent.training.plans import architecture
from nnstudent.training.recipe import Network
from nnstudent.volume import Grid, Shape, Spacing, Volume

WINDOW: Shape = (48, 96, 96)  # large enough that its finest maps are in no cache
SCAN: Shape = (48, 256, 256)
MEASURED = (8, 16, 32)


def window_seconds(network: Network, patch: Shape, *, classes: int, threads: int, repeats: int = 3) -> float:
    """Seconds that OpenVINO takes for a window in fp32, with weights by chance: the quickest of some runs, the first left out.

    Args:
        network: The network.
        patch: Voxels of the window, (z, y, x).
        classes: Channels of the output, background included.
        threads: Processor threads.
        repeats: How many runs.

    Raises:
        MissingExtraError: torch, which builds it, is not installed.
    """
    spec = _spec(network, patch, (1.0, 1.0, 1.0), classes)
    torch = require("torch", extra="torch", why="measuring a network")
    module = build(spec)
    with torch.no_grad():  # scales of 1 and shifts of 0 would be left out of the graph
        for weight in module.parameters():
            weight.add_(0.01)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
    request = graph.openvino().Core().compile_model(graph.convert(module, spec), "CPU", settings).create_infer_request()
    window = np.random.default_rng(0).standard_normal((1, 1, *patch)).astype(np.float32)
    taken = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        request.infer([window], share_inputs=True)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def measure(
    *, threads: int, widths: Sequence[int] = MEASURED, window: Shape = WINDOW, scan: Shape = SCAN, progress: Progress = silent
) -> Machine:
    """Measure this machine.

    Args:
        threads: Processor threads, as `segment` will have them.
        widths: Of which widths to measure networks; the cost of those between is drawn between.
        window: On which window.
        scan: Voxels of the scan that is resampled there and back.
        progress: Told after each network.
    """
    asked = {name: network for name, network in networks().items() if _width(name) in widths}
    table = {}
    for done, (name, network) in enumerate(asked.items(), start=1):
        table[name] = window_seconds(network, window, classes=15, threads=threads, repeats=2) / (math.prod(window) / 1e6)
        progress("measuring this machine", done, len(asked))
    scan_seconds, grid_seconds = _resampling_seconds(scan, threads=threads)
    return Machine(f"{platform.machine()}, {threads} threads", filled(table), scan_seconds, grid_seconds)


def filled(table: Mapping[str, float]) -> dict[str, float]:
    """The seconds of every network whose width lies between two that were measured: a power of the width between each two."""
    found = {}
    for name in networks():
        same = sorted((_width(other), seconds) for other, seconds in table.items() if _kind(other) == _kind(name))
        widths = [width for width, _ in same]
        if widths and widths[0] <= _width(name) <= widths[-1]:
            found[name] = float(np.exp(np.interp(math.log(_width(name)), np.log(widths), np.log([seconds for _, seconds in same]))))
    return found


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]


def _width(name: str) -> int:
    return int(name.rpartition(" ")[2])


def _resampling_seconds(size: Shape, *, threads: int) -> tuple[float, float]:
    """Seconds a million voxels of scan and of network's grid, from a scan carried to two grids and back."""
    rng = np.random.default_rng(0)
    scan = Volume(rng.integers(-200, 300, size).astype(np.int16), Grid(size, np.diag([0.8, 0.8, 2.5, 1.0])))
    equations, seconds = [], []
    for spacing in ((3.0, 1.6, 1.6), (5.0, 4.0, 4.0)):
        spec = _spec(next(iter(networks().values())), (16, 16, 16), spacing, 15)
        begin = time.perf_counter()
        image, frame = preprocess(scan, spec)
        taken = time.perf_counter() - begin
        logits = rng.standard_normal((15, *image.shape), dtype=np.float32)
        scores = Scores(logits, "logits", spec.classes, tuple(range(15)), spacing, spec.score_resampling, frame)
        begin = time.perf_counter()
        restore(scores, scan.grid, threads=threads)
        seconds.append(taken + time.perf_counter() - begin)
        equations.append([math.prod(size) / 1e6, math.prod(image.shape) / 1e6])
    of_scan, of_grid = (float(value) for value in np.linalg.solve(equations, seconds))
    # where noise makes one of them negative, the other takes it all
    return max(of_scan, 1e-3), max(of_grid, 1e-3)


def _spec(network: Network, patch: Shape, spacing: Spacing, classes: int) -> NetworkSpec:
    built = architecture(network)
    return NetworkSpec(
        patch=patch,
        spacing_mm=spacing,
        orientation="RAS",
        transpose=(0, 1, 2),
        normalization=Normalization("ct", 50.0, 100.0, -200.0, 300.0),
        image_resampling=Resampling(1, 1, False),
        score_resampling=Resampling(1, 1, False),
        classes=_names(classes),
        architecture=Architecture(built["network_class_name"], built["arch_kwargs"], tuple(built["_kw_requires_import"])),
    )


def _names(classes: int) -> tuple[str, ...]:
    names: Sequence[str] = [f"class_{channel}" for channel in range(1, classes)]
    return ("background", *names)
