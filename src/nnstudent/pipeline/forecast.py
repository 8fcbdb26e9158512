"""What a run will take: time while it runs, and room on the disk before it begins.

Both rest on rough counts of arithmetic and voxels. They say "about", and never decide a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from nnstudent.pipeline.preset import Preset
from nnstudent.progress import Progress
from nnstudent.training.recipe import Network, Recipe
from nnstudent.volume import Grid
from nnstudent.words import duration

# Of preprocessed scans on the disk: int16 compressed by blosc2, with its label map, measured 0.81;
# and the places of each class, from which windows are drawn.
BYTES_PER_VOXEL = 1.0
BYTES_PER_CASE = 2e6
LABEL_BYTES_PER_VOXEL = 0.05  # of a compressed label map
_LEAST_SECONDS = 10.0  # of a part, before its speed is believed
_TRAINING = 3  # a training step costs three times a forward pass


@dataclass(frozen=True)
class Part:
    """A part of a run's work.

    Attributes:
        stage: Name of the stage.
        what: What the stage calls it when it reports progress; empty for whatever it reports.
        work: Its size, in floating-point operations.
    """

    stage: str
    what: str
    work: float


def forward_operations(network: Network, patch: Sequence[int], *, classes: int = 15) -> float:
    """Return roughly the floating-point operations of one window.

    Args:
        network: The network.
        patch: Voxels of the window, (z, y, x).
        classes: Channels of the output.
    """
    voxels = float(prod(patch))
    total, before = 2 * voxels * network.features[0] * classes, 1
    down = network.whole("encoder_convolutions")
    up = [*network.whole("decoder_convolutions")[::-1], 0]  # none at the coarsest resolution
    kernels = network.whole("kernels")
    for stage, features in enumerate(network.features):
        voxels /= prod(network.strides[stage])
        taps = 2 * voxels * prod(kernels[stage])
        total += taps * features * (before + (down[stage] - 1) * features)
        if up[stage]:
            total += taps * features * features * (up[stage] + 1)
        before = features
    return float(total)


def training_work(recipe: Recipe) -> float:
    """Return roughly the floating-point operations of one training."""
    training = recipe.training
    window = forward_operations(recipe.network, recipe.data.patch)
    return _TRAINING * window * recipe.data.batch * training.epochs * training.iterations


def labeling_work(recipe: Recipe, grids: Iterable[Grid]) -> float:
    """Return roughly the operations of one model that labels scans, windows half overlapping."""
    window = forward_operations(recipe.network, recipe.data.patch)
    windows = 0.0
    for grid in grids:
        shape = network_shape(grid, recipe)
        windows += prod(
            max(1, round(2 * size / patch - 1))
            for size, patch in zip(shape, recipe.data.patch, strict=True)
        )
    return window * windows


def network_shape(grid: Grid, recipe: Recipe) -> tuple[float, ...]:
    """Return the voxels of a scan on a network's grid, (z, y, x)."""
    return tuple(
        size * mm / to
        for size, mm, to in zip(grid.shape, grid.spacing_mm, recipe.data.spacing_mm, strict=True)
    )


def disk_bytes(preset: Preset, grids: Sequence[Grid], *, baseline: bool, rounds: int) -> float:
    """Return roughly the most room that a run takes on the disk.

    Preprocessed scans are removed after each training; checkpoints and label maps stay.

    Args:
        preset: The run's preset.
        grids: The grid of each case.
        baseline: Whether a student is also trained without pseudo-labels.
        rounds: Rounds of labeling.
    """
    recipes = [
        item for item in (preset.teachers, preset.student, preset.tumor, preset.second) if item
    ]
    prepared = max(
        sum(prod(network_shape(grid, recipe)) * BYTES_PER_VOXEL + BYTES_PER_CASE for grid in grids)
        for recipe in recipes
    )
    voxels = sum(prod(grid.shape) for grid in grids)
    labels = voxels * LABEL_BYTES_PER_VOXEL * (2 * rounds + 2)
    trainings = [(preset.teachers, preset.folds), (preset.student, rounds + baseline)]
    trainings += [(preset.tumor or preset.teachers, preset.tumor_folds)]
    trainings += [(preset.second, 1)] if preset.second else []
    kept = sum(count * 4 * parameters(recipe.network) for recipe, count in trainings)
    # While one trains: two checkpoints, each with the optimizer's state.
    running = max(2 * 3 * 4 * parameters(recipe.network) for recipe, _ in trainings)
    return float(prepared + labels + kept + running)


def parameters(network: Network) -> float:
    """Return roughly the number of a network's parameters."""
    total, before = 0.0, 1
    down, kernels = network.whole("encoder_convolutions"), network.whole("kernels")
    up = [*network.whole("decoder_convolutions")[::-1], -1]  # none at the coarsest resolution
    for stage, features in enumerate(network.features):
        total += prod(kernels[stage]) * features * (before + (down[stage] - 1) * features)
        total += prod(kernels[stage]) * features * features * (up[stage] + 1)
        before = features
    return total


class Forecast:
    """Says how long the rest of a run will take, from the speed of what has run in this call.

    What an earlier call did counts as done, but not for the speed.
    """

    def __init__(
        self, parts: Sequence[Part], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with the parts that are left, in their order.

        Args:
            parts: The parts.
            clock: Seconds that pass.
        """
        self._parts = list(parts)
        self._clock = clock
        self._stage = ""
        self._now: Part | None = None
        self._began = self._first = self._share = 0.0
        self._speed: float | None = None  # operations in a second

    def begin(self, stage: str) -> None:
        """Note that a stage begins."""
        self._stage, self._now = stage, None

    def end(self, stage: str) -> None:
        """Note that a stage has ended: nothing of it is left, whatever it reported."""
        self._parts = [part for part in self._parts if part.stage != stage]
        self._stage, self._now = "", None

    def note(self, what: str, done: int, total: int) -> float | None:
        """Note progress of the present stage.

        Returns:
            The seconds that the rest of the run will take; None while that is not known.
        """
        part = next(
            (p for p in self._parts if p.stage == self._stage and p.what in ("", what)), None
        )
        if part is None or not total:
            return None
        share = min(done / total, 1.0)
        if part != self._now:
            self._now, self._began, self._first = part, self._clock(), share
        self._share = share
        seconds = self._clock() - self._began
        if seconds >= _LEAST_SECONDS and share > self._first:
            self._speed = part.work * (share - self._first) / seconds
        if self._speed is None:
            return None
        at = self._parts.index(part)
        left = sum(item.work for item in self._parts[at + 1 :]) + part.work * (1 - share)
        return left / self._speed

    def shown_by(self, progress: Progress) -> Progress:
        """Return a progress that adds the time left to what another one shows."""

        def show(what: str, done: int, total: int, *, note: str = "") -> None:
            left = self.note(what, done, total)
            words = [note, "" if left is None else f"whole run: about {duration(left)} left"]
            progress(what, done, total, note=", ".join(word for word in words if word))

        return show


def room_used(folder: Path) -> int:
    """Return the bytes of all files in a folder; 0 if there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
