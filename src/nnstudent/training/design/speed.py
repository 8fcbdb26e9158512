"""Measure in a minute how fast this machine runs networks and resamples scans."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnstudent.bundle import graph
from nnstudent.bundle.network import build
from nnstudent.bundle.spec import Architecture, NetworkSpec, Normalization, Resampling
from nnstudent.errors import require
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.restore import restore
from nnstudent.inference.labels.postprocess import DEFAULT, postprocess
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.quality.evidence import Evidence
from nnstudent.inference.windows.sliding import slide
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import flare23
from nnstudent.training.design.search import Machine, networks
from nnstudent.training.plans import architecture
from nnstudent.training.recipe import Network
from nnstudent.types import Float32Array
from nnstudent.volume import Grid, Shape, Spacing, Volume

# A voxel of a larger window takes longer: a tenth more than in a window of a third of this size.
WINDOW: Shape = (64, 128, 192)
SCAN: Shape = (96, 256, 256)
MEASURED = (8, 16, 32)
CLASSES = ("background", *flare23().names)


def window_seconds(network: Network, patch: Shape, *, threads: int, repeats: int = 3) -> float:
    """Seconds that OpenVINO takes for a window of 14 classes in fp32, with random weights.

    Args:
        network: The network.
        patch: Voxels of the window, (z, y, x).
        threads: CPU threads.
        repeats: Number of runs, of which the fastest counts; one more comes before them.

    Raises:
        MissingExtraError: torch, which builds the network, is not installed.
    """
    spec = network_spec(network, patch, (1.0, 1.0, 1.0))
    torch = require("torch", extra="torch", why="measuring a network")
    module = build(spec)
    with torch.no_grad():  # scales of 1 and shifts of 0 would be optimized away
        for weight in module.parameters():
            weight.add_(0.01)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    request = (
        graph.openvino()
        .Core()
        .compile_model(graph.convert(module, spec), "CPU", settings)
        .create_infer_request()
    )
    window = np.random.default_rng(0).standard_normal((1, 1, *patch)).astype(np.float32)
    request.infer([window], share_inputs=True)
    return quickest(lambda: request.infer([window], share_inputs=True), repeats=repeats)


def measure(
    *,
    threads: int,
    widths: Sequence[int] = MEASURED,
    window: Shape = WINDOW,
    scan: Shape = SCAN,
    progress: Progress = silent,
) -> Machine:
    """Measure this machine.

    Args:
        threads: CPU threads, as `segment` will use them.
        widths: Widths of the networks to measure; the cost of those between is interpolated.
        window: Voxels of the window to measure them on, (z, y, x).
        scan: Voxels of the scan that is resampled there and back, (z, y, x).
        progress: Called after each network.
    """
    asked = {name: network for name, network in networks().items() if _width(name) in widths}
    table, summing = {}, _summing_seconds(window)
    for done, (name, network) in enumerate(asked.items(), start=1):
        seconds = window_seconds(network, window, threads=threads, repeats=2) + summing
        table[name] = seconds / (math.prod(window) / 1e6)
        progress("measuring this machine", done, len(asked))
    scan_seconds, grid_seconds = _seconds_around(scan, threads=threads)
    return Machine(
        f"{platform.machine()}, {threads} threads", filled(table), scan_seconds, grid_seconds
    )


def filled(table: Mapping[str, float]) -> dict[str, float]:
    """Interpolate the seconds of networks whose width lies between two that were measured.

    Between two measured widths the seconds are a power of the width.
    """
    complete = {}
    for name in networks():
        same = sorted(
            (_width(other), seconds)
            for other, seconds in table.items()
            if _kind(other) == _kind(name)
        )
        widths = [width for width, _ in same]
        if widths and widths[0] <= _width(name) <= widths[-1]:
            complete[name] = float(
                np.exp(
                    np.interp(
                        math.log(_width(name)),
                        np.log(widths),
                        np.log([seconds for _, seconds in same]),
                    )
                )
            )
    return complete


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]


def _width(name: str) -> int:
    return int(name.rpartition(" ")[2])


def _summing_seconds(patch: Shape) -> float:
    """Seconds to add a window's logits to the sum."""
    image, logits = np.zeros(patch, np.float32), np.ones((len(CLASSES), *patch), np.float32)
    return quickest(lambda: slide(image, lambda _: logits, patch=patch, classes=len(CLASSES)))


def _seconds_around(size: Shape, *, threads: int) -> tuple[float, float]:
    """Seconds of everything but the network, per million voxels of scan and of network grid.

    A scan is resampled to two grids and back. How long that takes depends on the segmentation,
    because only surfaces are interpolated; here each class is an ellipsoid.
    """
    rng = np.random.default_rng(0)
    scan = Volume(
        rng.integers(-200, 300, size).astype(np.int16), Grid(size, np.diag([0.8, 0.8, 2.5, 1.0]))
    )
    taxonomy = flare23()
    equations, seconds = [], []
    for spacing in ((3.0, 1.6, 1.6), (5.0, 4.0, 4.0)):
        spec = network_spec(next(iter(networks().values())), (16, 16, 16), spacing)
        image, _ = preprocess(scan, spec)
        logits = _ellipsoids(image.shape)

        def around(spec: NetworkSpec = spec, logits: Float32Array = logits) -> None:
            _, frame = preprocess(scan, spec)
            scores = ClassScores(
                logits,
                "logits",
                spec.classes,
                tuple(range(len(CLASSES))),
                spec.spacing_mm,
                spec.score_resampling,
                frame,
            )
            Evidence(len(spec.classes)).add(scores)
            postprocess(restore(scores, scan.grid, threads=threads), taxonomy, rules=DEFAULT)

        seconds.append(quickest(around))
        equations.append([math.prod(size) / 1e6, math.prod(image.shape) / 1e6])
    of_scan, of_grid = (float(value) for value in np.linalg.solve(equations, seconds))
    # If noise makes one of them negative, the other accounts for all of it.
    return max(of_scan, 1e-3), max(of_grid, 1e-3)


def _ellipsoids(shape: Shape) -> Float32Array:
    """Logits (class, z, y, x) of background and one ellipsoid per class at a random place.

    Each is a quarter of the scan long.
    """
    centres = np.random.default_rng(0).uniform(0.2, 0.8, (len(CLASSES) - 1, 3))
    logits = np.zeros((len(CLASSES), *shape), np.float32)
    for channel, centre in enumerate(centres, start=1):
        along = [
            ((np.arange(size) + 0.5) / size - middle) / 0.125
            for size, middle in zip(shape, centre, strict=True)
        ]
        z, y, x = np.meshgrid(*along, indexing="ij", sparse=True)
        logits[channel] = 10 * (1 - np.sqrt(z**2 + y**2 + x**2))
    return logits


def quickest(work: Callable[[], object], *, repeats: int = 2) -> float:
    """Seconds of the fastest of some runs.

    Args:
        work: The function to run.
        repeats: Number of runs.
    """
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def network_spec(
    network: Network, patch: Shape, spacing: Spacing, *, classes: Sequence[str] = CLASSES
) -> NetworkSpec:
    """What a network that is not trained is run with, to measure its speed.

    Args:
        network: The network.
        patch: Voxels of a window, (z, y, x).
        spacing: Spacing of its grid, (z, y, x), in mm.
        classes: Its classes, background first.
    """
    built = architecture(network)
    return NetworkSpec(
        patch=patch,
        spacing_mm=spacing,
        orientation="RAS",
        transpose=(0, 1, 2),
        normalization=Normalization("ct", 50.0, 100.0, -200.0, 300.0),
        image_resampling=Resampling(1, 1, False),
        score_resampling=Resampling(1, 1, False),
        classes=tuple(classes),
        architecture=Architecture(
            built["network_class_name"], built["arch_kwargs"], tuple(built["_kw_requires_import"])
        ),
    )
