"""The least time that segmenting can take on this machine.

It is the arithmetic over the measured peak, and the bytes over the measured bandwidth.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import Network
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.inference.grid.resample import new_shape
from nnstudent.training.design.speed import quickest
from nnstudent.volume import Volume

# Size of the convolution that shows the peak: deep enough to be bound by arithmetic only.
CHANNELS, SIZE = 128, (16, 48, 48)
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def flops(path: Path, spec: NetworkSpec) -> float:
    """Floating-point operations of a window's convolutions; a product and a sum count as two."""
    total = 0
    for node in graph.read(path, spec).get_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "ConvolutionBackpropData"):
            continue
        weights = list(node.input(1).get_shape())
        # Each value of the output (or, transposed, of the input) meets each weight of one output
        # (input) channel once.
        voxels = list((node.output(0) if kind == "Convolution" else node.input(0)).get_shape())[2:]
        total += 2 * math.prod(voxels) * math.prod(weights)
    return float(total)


def peak(precision: str, *, threads: int, repeats: int = 5) -> float:
    """Operations per second that a large convolution reaches on this machine."""
    ov = graph.openvino()
    from openvino import opset13 as ops

    data = ops.parameter([1, CHANNELS, *SIZE], np.float32)
    random = np.random.default_rng(0)
    weights = ops.constant(random.standard_normal((CHANNELS, CHANNELS, 3, 3, 3)).astype(np.float32))
    inside = data
    if precision == "int8":
        low, high = np.float32(-4), np.float32(4)
        inside = ops.fake_quantize(data, low, high, low, high, 256)
        weights = ops.fake_quantize(weights, low, high, low, high, 255)
    network = ops.convolution(inside, weights, [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    request = (
        ov.Core().compile_model(ov.Model([network], [data]), "CPU", settings).create_infer_request()
    )
    window = random.standard_normal((1, CHANNELS, *SIZE)).astype(np.float32)
    seconds = quickest(lambda: request.infer([window], share_inputs=True), repeats=repeats)
    return 2 * math.prod(SIZE) * CHANNELS**2 * 27 / seconds


def bandwidth(*, repeats: int = 5) -> float:
    """Bytes per second that are read and written when memory is copied."""
    source = np.zeros(2**25)
    target = np.zeros_like(source)
    return 2 * source.nbytes / quickest(lambda: np.copyto(target, source), repeats=repeats)


def stage_bytes(image: Volume, network: Network) -> dict[str, float]:
    """Bytes that each stage must at least read and write, without compression."""
    scan, labels = image.array.nbytes, image.array.size
    grid = 4 * math.prod(new_shape(image.array.shape, image.spacing_mm, network.spec.spacing_mm))
    scores = grid * len(network.spec.classes)
    return {
        "read": scan,
        "preprocess": scan + grid,
        "restore": scores + labels,
        "write": 2 * labels,
    }


def floor(
    image: Volume,
    network: Network,
    *,
    windows: int,
    operations: float,
    peak: float,
    bandwidth: float,
) -> dict[str, float]:
    """Least seconds of each stage."""
    seconds = {stage: count / bandwidth for stage, count in stage_bytes(image, network).items()}
    return seconds | {"network": windows * operations / peak}
