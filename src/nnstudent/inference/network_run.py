"""One network on the part of an image that it sees."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nnstudent.bundle.bundle import Network
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.restore import Restoration
from nnstudent.inference.host_view import host_view
from nnstudent.inference.labels.probabilities import NetworkProbabilities, ProbabilityMaps
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.lesion_stage import (
    labels_on_network_grid,
    lesion_scores,
    lesions_alone,
)
from nnstudent.inference.memory import MemoryPlan, is_linear
from nnstudent.inference.quality.evidence import Evidence
from nnstudent.inference.second_look import finer, mean_of_looks
from nnstudent.inference.windows.sliding import dense_starts, padded_shape
from nnstudent.progress import Progress
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Volume

if TYPE_CHECKING:
    from nnstudent.inference.segmenter import Segmenter


class NetworkRun:
    """One network on the part of the image that it sees.

    Attributes:
        index: Which of the model's networks.
        network: That network.
        labels: The labels so far on the part that it sees, a view.
        planned: How many windows ``dense`` would run, of all members.
        first_look: What it says of each class, if it is going to look again; otherwise None.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        index: int,
        *,
        image: Volume,
        labels: LabelArray,
        plan: MemoryPlan,
        seconds: dict[str, float],
        maps: ProbabilityMaps | None = None,
        looked: NetworkProbabilities | None = None,
    ) -> None:
        """Bring the image to the network's grid.

        Args:
            segmenter: Runs the network.
            index: Which of the model's networks.
            image: The part of the image that it sees.
            labels: The labels so far on that part, (z, y, x).
            plan: How many of the class scores are held at once, and where.
            seconds: Durations, to which ``network`` and ``restore`` are added.
            maps: What keeps the probabilities; None if nothing does.
            looked: What it said of each class when it looked for the first time, if this is the
                second.
        """
        self.index, self.labels, self._looked = index, labels, looked
        self.network: Network = segmenter.model.networks[index]
        if looked is not None:
            self.network = replace(self.network, spec=finer(self.network.spec))
        self._segmenter, self._planes, self._seconds = segmenter, plan.planes, seconds
        self._in_file = plan.in_file
        self._grid = image.grid
        self._values, self._frame = preprocess(image, self.network.spec)
        if plan.planes is None and self._sums_features():
            # All sums are held, but logits are made of some planes at a time.
            self._planes = padded_shape(self._frame.shape, self.network.spec.patch)[0]
        if self.network.spec.relative_to:
            self._values = self._relative_to_organs(self._values)
        patch = self.network.spec.patch
        windows = len(dense_starts(padded_shape(self._frame.shape, patch), patch))
        self.planned = windows * len(self.network.members)
        self._kept = (
            None
            if maps is None
            else maps.of_network(self.network.spec, self._frame, classes=self._classes)
        )
        self.first_look = (
            None
            if self.network.spec.finer_mm is None
            else NetworkProbabilities(
                self.network.spec,
                self._frame,
                classes=self._classes,
                in_memory=plan.planes is None,
            )
        )
        self._held: list[ClassScores] = []

    def _sums_features(self) -> bool:
        """Whether windows' features are summed, and scores are restored piece by piece."""
        spec = self.network.spec
        fewer = self._segmenter.runner.summed_channels(self.index) < len(spec.classes)
        return fewer and not spec.hosts and is_linear(self._grid, spec)

    def _relative_to_organs(self, values: Float32Array) -> Float32Array:
        """The image of a lesion stage that learned on intensities relative to organs."""
        spec = self.network.spec
        normal = spec.normalization
        view, _ = host_view(
            values * np.float32(normal.std) + np.float32(normal.mean),
            labels_on_network_grid(self.labels, self._frame),
            self._segmenter.ids(spec.relative_to),
            spacing_mm=spec.spacing_mm,
        )
        return view

    def run(self, progress: Progress) -> int:
        """Run the windows; returns how many, of all members."""
        self._restoration = Restoration(
            self._frame,
            self._grid,
            threads=self._segmenter.threads,
            device=self._segmenter.engine_of(0, 0).restores_on,
        )
        self._evidence = Evidence(len(self._classes))
        restored, began = self._seconds["restore"], time.perf_counter()
        ran = self._segmenter.runner.run_network(
            self.index,
            self._values,
            spec=self.network.spec,
            frame=self._frame,
            take=self._held.append if self._planes is None else self._restore,
            planes=self._planes,
            in_file=self._in_file,
            # What decides on lesions only does so by more than its best channel.
            compare=None if self._is_of_lesions else self._compare,
            progress=progress,
        )
        elapsed = time.perf_counter() - began
        self._seconds["network"] += elapsed - (self._seconds["restore"] - restored)
        del self._values  # they take memory, and are not needed any more
        return ran

    def finish(self) -> tuple[LabelArray, dict[str, dict[str, float]]]:
        """Labels on the part that the network saw, and what its scores say of each class."""
        while self._held:
            self._restore(self._held.pop())
        voxel_ml = math.prod(self.network.spec.spacing_mm) / 1000
        evidence = self._evidence.features(self._classes, voxel_ml=voxel_ml)
        return self._restoration.labels.array, evidence

    def _restore(self, scores: ClassScores) -> None:
        with timed(self._seconds, "restore"):
            for part in self._decided(scores):
                self._restoration.add(part)
                for kept in (self._kept, self.first_look):
                    if kept is not None:
                        kept.add(part)
                self._evidence.add(part)

    def _compare(self, before: Float32Array, window: Float32Array) -> None:
        self._evidence.compare(before, window, regions=self.network.spec.regions)

    @property
    def _is_of_lesions(self) -> bool:
        """Whether the network decides on lesions only, although it knows organs."""
        return bool(self.network.spec.hosts) or self.network.spec.lesions_only

    @property
    def _classes(self) -> tuple[str, ...]:
        """The classes that the network decides on; a lesion stage decides on lesions only."""
        spec, lesions = self.network.spec, self._segmenter.taxonomy.lesions
        if not self._is_of_lesions:
            return spec.classes
        return spec.classes[0], next(name for name in spec.foreground if name in lesions)

    def _decided(self, scores: ClassScores) -> Iterator[ClassScores]:
        """Scores of the classes that the network decides on, all or slab by slab."""
        spec, taxonomy = self.network.spec, self._segmenter.taxonomy
        if self._looked is not None:
            yield from mean_of_looks(scores, self._looked, linear=is_linear(self._grid, spec))
            return
        if not spec.hosts:
            yield lesions_alone(scores, taxonomy.lesions) if spec.lesions_only else scores
            return
        organs = labels_on_network_grid(self.labels, scores.frame)
        ids = {name: taxonomy[name].id for name in spec.hosts}
        yield lesion_scores(scores, spec, organs=organs, lesions=taxonomy.lesions, ids=ids)


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Add the time that a block takes to ``seconds[what]``."""
    began = time.perf_counter()
    yield
    seconds[what] += time.perf_counter() - began
