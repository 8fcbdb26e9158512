"""One image on its way through the networks of a model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nnstudent.bundle.bundle import Network
from nnstudent.inference.cascade import crop_for_second_stage, merge_second_stage
from nnstudent.inference.checks import image_warnings, missing_organ_warnings
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.restore import Restoration
from nnstudent.inference.host_view import host_view
from nnstudent.inference.labels.hosted import give_lesions_to_hosts
from nnstudent.inference.labels.organs import organ_facts
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.lesion_stage import (
    labels_on_network_grid,
    lesion_scores,
    lesions_alone,
)
from nnstudent.inference.memory import MemoryPlan, is_linear
from nnstudent.inference.pipelining import Stages
from nnstudent.inference.quality.evidence import Evidence
from nnstudent.inference.quality.measure import case_features
from nnstudent.inference.segmentation import Segmentation
from nnstudent.inference.windows.sliding import dense_starts, padded_shape
from nnstudent.progress import Progress, silent
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Volume

if TYPE_CHECKING:
    from nnstudent.inference.segmenter import Segmenter

ONLY_AIR = "the image contains only air; nothing was segmented"


class CaseRun:
    """The state of one image while its networks run one after another."""

    def __init__(
        self,
        image: Volume,
        segmenter: Segmenter,
        *,
        plan: MemoryPlan,
        progress: Progress,
        keep: ProbabilityMaps | None = None,
    ) -> None:
        """Begin with an empty label map; probabilities are added to ``keep``."""
        self._maps = keep
        self._began = time.perf_counter()
        self._image, self._segmenter = image, segmenter
        self._plan, self._peak_mb = plan, plan.peak_mb
        self._progress = progress
        self._seconds = dict.fromkeys(("preprocess", "network", "restore", "waiting"), 0.0)
        self._labels: LabelArray = np.zeros(image.grid.shape, np.uint8)
        self._evidence: dict[str, dict[str, float]] = {}
        self._planned = self._ran = 0

    def stages(self) -> Stages[Segmentation]:
        """Yield before the first network runs and after the last one has; return the result."""
        networks = self._segmenter.model.networks
        for index in range(len(networks)):
            work = self._prepare(index)
            if work is None:
                continue
            if index == 0:
                yield from self._wait()
            self._ran += work.run(self._progress)
            if index == len(networks) - 1:
                yield from self._wait()
            self._merge(work)
        return self._result()

    def second_stage(
        self, index: int, labels: LabelArray
    ) -> tuple[LabelArray, dict[str, dict[str, float]]]:
        """See the function of this name."""
        self._labels = labels.copy()
        work = self._prepare(index)
        if work is not None:
            work.run(self._progress)
            self._merge(work)
        return self._labels, self._evidence

    def _wait(self) -> Iterator[None]:
        with timed(self._seconds, "waiting"):
            yield

    def _prepare(self, index: int) -> NetworkRun | None:
        """Preprocess what a network sees; None where a second stage has nothing to see."""
        network = self._segmenter.model.networks[index]
        image, labels, plan = self._image, self._labels, self._plan
        with timed(self._seconds, "preprocess"):
            if network.spec.context_mm is not None:
                ids = self._segmenter.ids(network.spec.hosts or network.spec.foreground)
                crop = crop_for_second_stage(image, labels, ids=ids, spec=network.spec)
                if network.spec.hosts:
                    # It decides about lesions, also about those that a network before it found,
                    # and where there is no host.
                    lesions = self._segmenter.ids(self._segmenter.taxonomy.lesions)
                    give_lesions_to_hosts(self._labels, lesions)
                if crop is None:
                    return None
                image, labels = crop
                plan = self._segmenter.plan(image.grid, networks=[network])
                if network.spec.hosts:
                    # A lesion stage needs all of its scores at once.
                    plan = replace(plan, planes=None, in_file=False)
                self._peak_mb = max(self._peak_mb, plan.peak_mb)
            return NetworkRun(
                self._segmenter,
                index,
                image=image,
                labels=labels,
                plan=plan,
                seconds=self._seconds,
                maps=self._maps,
            )

    def _merge(self, work: NetworkRun) -> None:
        """Lay what a network found over the labels so far."""
        found, evidence = work.finish()
        spec = work.network.spec
        if work.index == 0:
            self._labels = found
        else:
            decides = spec.context_mm is not None and not spec.hosts
            merge_second_stage(
                work.labels, found, ids=self._segmenter.ids(spec.foreground) if decides else ()
            )
        self._evidence |= evidence
        self._planned += work.planned

    def _result(self) -> Segmentation:
        segmenter, image = self._segmenter, self._image
        with timed(self._seconds, "restore"):
            labels = segmenter.correct(Volume(self._labels, image.grid))
        organs = organ_facts(
            image,
            labels,
            taxonomy=segmenter.taxonomy,
            confidence={
                name: self._evidence.get(name, {}).get("confidence")
                for name in segmenter.model.classes
            },
        )
        missing = missing_organ_warnings(
            {name: facts.volume_ml for name, facts in organs.items()}, segmenter.taxonomy
        )
        warnings = (*image_warnings(image), *(missing if self._ran else [ONLY_AIR]))
        features = case_features(
            image,
            labels,
            taxonomy=segmenter.taxonomy,
            organs=organs,
            evidence=self._evidence,
            warnings=warnings,
        )
        if segmenter.model.quality is not None:
            judged = segmenter.model.quality(features)
            organs = {
                name: replace(facts, quality=judged.get(name)) for name, facts in organs.items()
            }
        engine = segmenter.engine_of(0, 0)
        waiting = self._seconds.pop("waiting")
        self._seconds["total"] = time.perf_counter() - self._began - waiting
        return Segmentation(
            labels=labels,
            organs=organs,
            seconds=self._seconds,
            windows={
                "planned": self._planned,
                "run": self._ran,
                "skipped": max(0, self._planned - self._ran),
            },
            warnings=warnings,
            engine=engine.name,
            precision=engine.precision,
            model=segmenter.model.hash,
            predicted_peak_mb=self._peak_mb,
            probabilities=self._maps,
            features=features,
        )


def second_stage(
    segmenter: Segmenter,
    index: int,
    *,
    image: Volume,
    labels: LabelArray,
    progress: Progress = silent,
) -> tuple[LabelArray, dict[str, dict[str, float]]]:
    """Run one second stage, given the labels of the networks before it.

    Args:
        segmenter: Runs the model.
        index: Which of the model's networks.
        image: The image.
        labels: Labels of the networks before it, with ids of the model, (z, y, x); not changed.
        progress: Called after each window.

    Returns:
        The labels after it, and what its scores say of each of its classes, as
        :meth:`NetworkRun.finish` returns it; both as they were if it has nothing to see.
    """
    plan = segmenter.plan(image.grid, image=image)
    return CaseRun(image, segmenter, plan=plan, progress=progress).second_stage(index, labels)


class NetworkRun:
    """One network on the part of the image that it sees.

    Attributes:
        index: Which of the model's networks.
        network: That network.
        labels: The labels so far on the part that it sees, a view.
        planned: How many windows ``dense`` would run, of all members.
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
        """
        self.index, self.labels = index, labels
        self.network: Network = segmenter.model.networks[index]
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
        self._held: list[ClassScores] = []

    def _sums_features(self) -> bool:
        """Whether windows' features are summed, and scores are restored piece by piece."""
        spec = self.network.spec
        fewer = self._segmenter.runner.summed_channels(self.index) < len(spec.classes)
        return fewer and not spec.hosts and is_linear(self._grid, spec)

    def _relative_to_organs(self, values: Float32Array) -> Float32Array:
        """What a lesion stage sees that learned on intensities relative to organs."""
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
        scores = self._decided(scores)
        with timed(self._seconds, "restore"):
            self._restoration.add(scores)
            if self._kept is not None:
                self._kept.add(scores)
            self._evidence.add(scores)

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

    def _decided(self, scores: ClassScores) -> ClassScores:
        """Scores of the classes that the network decides on."""
        spec, taxonomy = self.network.spec, self._segmenter.taxonomy
        if not spec.hosts:
            return lesions_alone(scores, taxonomy.lesions) if spec.lesions_only else scores
        organs = labels_on_network_grid(self.labels, scores.frame)
        ids = {name: taxonomy[name].id for name in spec.hosts}
        return lesion_scores(scores, spec, organs=organs, lesions=taxonomy.lesions, ids=ids)


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Add the time that a block takes to ``seconds[what]``."""
    began = time.perf_counter()
    yield
    seconds[what] += time.perf_counter() - began
