"""Quantizing a network's graph to int8, and measuring the loss of accuracy."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.bundle import graph
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.errors import InputError, require
from nnstudent.progress import Progress, silent

MEAN_LOSS, WORST_LOSS = 0.003, 0.01  # largest loss of DSC: mean of the classes, and of one class
_ENOUGH = 500  # voxels of a class in the held-back windows; with fewer, its DSC is chance


@dataclass(frozen=True, eq=False)
class Sample:
    """A window to calibrate on or to compare on.

    Attributes:
        window: Input of the network, (z, y, x).
        truth: Channel of each voxel, (z, y, x); None if nobody labeled the case.
        annotated: Channels that are annotated.
    """

    window: npt.NDArray[np.float32]
    truth: npt.NDArray[np.uint8] | None = None
    annotated: frozenset[int] = frozenset()


# Gives a network's windows to calibrate on, and those held back to compare on.
Sampling = Callable[[NetworkSpec], tuple[Sequence[Sample], Sequence[Sample]]]


@dataclass(frozen=True)
class Loss:
    """The DSC of fp32 less that of int8, over all held-back windows together.

    Attributes:
        by_class: Class name → loss; negative if int8 is better.
        windows: Number of held-back windows.
    """

    by_class: dict[str, float]
    windows: int

    def __post_init__(self) -> None:
        if not self.by_class:
            raise InputError(
                f"no class has {_ENOUGH} labeled voxels in {self.windows} held-back windows; "
                "use more labeled cases"
            )

    @property
    def mean(self) -> float:
        """Mean loss of the classes."""
        return sum(self.by_class.values()) / len(self.by_class)

    @property
    def worst(self) -> str:
        """The class with the largest loss."""
        return max(self.by_class, key=lambda name: self.by_class[name])

    @property
    def bearable(self) -> bool:
        """Whether the loss is within the limits."""
        return self.mean <= MEAN_LOSS and self.by_class[self.worst] <= WORST_LOSS

    def __str__(self) -> str:
        return (
            f"DSC falls by {self.mean:.4f} on the mean of {len(self.by_class)} classes and by "
            f"{self.by_class[self.worst]:.4f} for {self.worst}, on {self.windows} held-back windows"
        )


def quantiser() -> Any:
    """Import NNCF.

    Raises:
        MissingExtraError: It is not installed.
    """
    graph.openvino()  # first, because it switches off the telemetry of both
    with _quiet():
        return require("nncf", extra="int8", why="export --int8")


def quantise(network: Any, samples: Sequence[Sample]) -> Any:
    """Quantize an OpenVINO graph's convolutions to int8 by NNCF's post-training quantization.

    Args:
        network: The graph, which stays as it is.
        samples: Windows that give the ranges of activations.

    Returns:
        The quantized graph, which computes the same sums on every processor.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    nncf = quantiser()
    with _quiet():
        windows = nncf.Dataset([sample.window[np.newaxis, np.newaxis] for sample in samples])
        return nncf.quantize(
            network,
            windows,
            # Activations after a leaky ReLU are mostly positive: asymmetric ranges lose less.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            # Weights of 7 bits: AVX2 sums two products in 16 bits, and 2 · 255 · 64 still fits.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def with_transposed(quantised: Any) -> Any:
    """A copy of a quantized graph whose transposed convolutions have inputs of symmetric ranges.

    With the ranges of :func:`quantise` OpenVINO runs these layers in floating point and quantizes
    what they give in steps of its own, together a sixth of the bundled student's time.
    """
    ops = importlib.import_module("openvino.opset13")
    network = quantised.clone()
    for node in network.get_ops():
        if node.get_type_name() != "ConvolutionBackpropData":
            continue
        given = node.input(0).get_source_output()
        ranges = given.get_node()
        if ranges.get_type_name() != "FakeQuantize" or len(given.get_target_inputs()) > 1:
            continue
        source = ranges.input(0).get_source_output()
        if len(source.get_target_inputs()) > 1:  # another layer needs the range as it is
            continue
        bounds = [ranges.input(k).get_source_output().get_node().data for k in (1, 2)]
        most = max(float(np.abs(values).max()) for values in bounds)
        low, high = np.float32(-most * 128 / 127), np.float32(most)
        symmetric = ops.fake_quantize(source, low, high, low, high, 256)
        node.input(0).replace_source_output(symmetric.output(0))
    network.validate_nodes_and_infer_types()
    return network


def compare(
    network: Any,
    quantised: Any,
    samples: Sequence[Sample],
    spec: NetworkSpec,
    *,
    progress: Progress = silent,
) -> Loss:
    """Measure how much DSC a network loses by being quantized.

    Args:
        network: The graph.
        quantised: The same graph in int8.
        samples: Windows with truth that were not used for calibration.
        spec: The network's specification.
        progress: Called after each window.

    Raises:
        InputError: The windows hold too little truth.
    """
    core = graph.openvino().Core()
    both = [
        core.compile_model(one, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for one in (network, quantised)
    ]
    # By graph and channel: voxels in both, in truth, and in the prediction.
    counts = np.zeros((2, 3, len(spec.classes)))
    for done, sample in enumerate(samples, start=1):
        if sample.truth is None:
            continue
        channels = np.array([channel in sample.annotated for channel in range(len(spec.classes))])
        for row, run in zip(counts, both, strict=True):
            predicted = _channels(run(sample.window[np.newaxis, np.newaxis])[0][0], spec)
            for part, chosen in zip(
                row,
                (sample.truth[predicted == sample.truth], sample.truth, predicted),
                strict=True,
            ):
                part += np.bincount(chosen.ravel(), minlength=len(channels)) * channels
        progress("compare int8", done, len(samples))
    before, after = (2 * row[0] / np.maximum(row[1] + row[2], 1) for row in counts)
    judged = [
        channel for channel in range(1, len(spec.classes)) if counts[0, 1, channel] >= _ENOUGH
    ]
    return Loss(
        {spec.classes[channel]: float(before[channel] - after[channel]) for channel in judged},
        len(samples),
    )


def _channels(logits: npt.NDArray[np.float32], spec: NetworkSpec) -> npt.NDArray[np.intp]:
    """The channel of each voxel, (z, y, x), from logits (class, z, y, x)."""
    best: npt.NDArray[np.intp] = logits.argmax(axis=0)
    if spec.regions:
        above = logits > logits[:1]
        best = np.where(above.any(axis=0), len(logits) - 1 - above[::-1].argmax(axis=0), 0)
    return best


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF and its imports from printing to standard output."""
    from contextlib import redirect_stdout

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):
        yield
