"""A network's graph in int8 arithmetic, and what that costs."""

from __future__ import annotations

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

MEAN_LOSS, WORST_LOSS = 0.003, 0.01  # of DSC against truth, over all classes and of one
_ENOUGH = 500  # voxels of a class in the held-back windows; with fewer its DSC is chance


@dataclass(frozen=True, eq=False)
class Sample:
    """A window to calibrate on or to compare on.

    Attributes:
        window: What the network takes, (z, y, x).
        truth: Channel of each voxel, (z, y, x); None where nobody labeled.
        annotated: Channels that somebody looked for.
    """

    window: npt.NDArray[np.float32]
    truth: npt.NDArray[np.uint8] | None = None
    annotated: frozenset[int] = frozenset()


# For a network, the windows to calibrate on and those held back to compare on.
Sampling = Callable[[NetworkSpec], tuple[Sequence[Sample], Sequence[Sample]]]


@dataclass(frozen=True)
class Loss:
    """DSC against truth in fp32 less that in int8, over the held-back windows together.

    Attributes:
        by_class: Class name → loss; negative where int8 is better.
        windows: How many were held back.
    """

    by_class: dict[str, float]
    windows: int

    def __post_init__(self) -> None:
        if not self.by_class:
            raise InputError(
                f"no class has {_ENOUGH} labeled voxels in {self.windows} held-back windows; use more labeled cases"
            )

    @property
    def mean(self) -> float:
        """Over the classes."""
        return sum(self.by_class.values()) / len(self.by_class)

    @property
    def worst(self) -> str:
        """The class that loses most."""
        return max(self.by_class, key=lambda name: self.by_class[name])

    @property
    def bearable(self) -> bool:
        """Whether it is within the limits."""
        return self.mean <= MEAN_LOSS and self.by_class[self.worst] <= WORST_LOSS

    def __str__(self) -> str:
        return (
            f"DSC falls by {self.mean:.4f} on the mean of {len(self.by_class)} classes and by {self.by_class[self.worst]:.4f} for "
            f"{self.worst}, on {self.windows} held-back windows"
        )


def quantiser() -> Any:
    """NNCF, which is asked for before anything is read for it.

    Raises:
        MissingExtraError: It is not installed.
    """
    graph.openvino()  # first, for it keeps the telemetry of both quiet
    with _quiet():
        return require("nncf", extra="int8", why="export --int8")


def quantise(network: Any, samples: Sequence[Sample]) -> Any:
    """The OpenVINO graph with its convolutions in int8, by NNCF's post-training quantisation: the same sums on every processor.

    Args:
        network: The graph, which is left as it is.
        samples: Windows to take the ranges of activations from.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    nncf = quantiser()
    with _quiet():
        windows = nncf.Dataset([sample.window[np.newaxis, np.newaxis] for sample in samples])
        return nncf.quantize(
            network,
            windows,
            # Activations after a leaky ReLU lie mostly above zero: asymmetric ranges lose less of them.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            # Weights of 7 bits: AVX2 sums two products in 16 bits, and 2 · 255 · 64 still fits.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def compare(
    network: Any,
    quantised: Any,
    samples: Sequence[Sample],
    spec: NetworkSpec,
    *,
    progress: Progress = silent,
) -> Loss:
    """What quantising costs against truth.

    Args:
        network: The graph.
        quantised: The same in int8.
        samples: Windows with truth that it was not calibrated on.
        spec: The network.
        progress: Told after each window.

    Raises:
        InputError: Too little truth is in the windows to tell.
    """
    core = graph.openvino().Core()
    both = [
        core.compile_model(one, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for one in (network, quantised)
    ]
    # By graph and channel: voxels in both, in truth, and found.
    counts = np.zeros((2, 3, len(spec.classes)))
    for done, sample in enumerate(samples, start=1):
        if sample.truth is None:
            continue
        channels = np.array([channel in sample.annotated for channel in range(len(spec.classes))])
        for row, run in zip(counts, both, strict=True):
            found = _found(run(sample.window[np.newaxis, np.newaxis])[0][0], spec)
            for part, chosen in zip(
                row, (sample.truth[found == sample.truth], sample.truth, found), strict=True
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


def _found(logits: npt.NDArray[np.float32], spec: NetworkSpec) -> npt.NDArray[np.intp]:
    """The channel that each voxel is of."""
    best: npt.NDArray[np.intp] = logits.argmax(axis=0)
    if spec.regions:
        above = logits > logits[:1]
        best = np.where(above.any(axis=0), len(logits) - 1 - above[::-1].argmax(axis=0), 0)
    return best


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF and what it imports from printing; its progress bars go to standard output."""
    from contextlib import redirect_stdout

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):
        yield
