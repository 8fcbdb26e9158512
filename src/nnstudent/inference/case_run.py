"""One image on its way through the networks of a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nnstudent.inference.cascade import crop_for_second_stage, merge_second_stage
from nnstudent.inference.checks import image_warnings, missing_organ_warnings
from nnstudent.inference.labels.hosted import give_lesions_to_hosts
from nnstudent.inference.labels.organs import organ_facts
from nnstudent.inference.labels.probabilities import NetworkProbabilities, ProbabilityMaps
from nnstudent.inference.memory import MemoryPlan
from nnstudent.inference.network_run import NetworkRun, timed
from nnstudent.inference.pipelining import Stages
from nnstudent.inference.quality.measure import case_features
from nnstudent.inference.second_look import finer
from nnstudent.inference.segmentation import Segmentation
from nnstudent.progress import Progress, silent
from nnstudent.types import LabelArray
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
            looked = work.first_look
            if looked is not None:
                self._merge(work)
                work = self._second_look(work, looked)
                if work is None:
                    looked.close()
                    continue
                self._ran += work.run(self._progress)
            if index == len(networks) - 1:
                yield from self._wait()
            self._merge(work)
            if looked is not None:
                looked.close()
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

    def _second_look(self, first: NetworkRun, looked: NetworkProbabilities) -> NetworkRun | None:
        """Preprocess what a network sees when it looks again; None if it has found nothing."""
        spec = finer(first.network.spec)
        with timed(self._seconds, "preprocess"):
            ids = self._segmenter.ids(spec.foreground)
            crop = crop_for_second_stage(self._image, self._labels, ids=ids, spec=spec)
            if crop is None:
                return None
            image, labels = crop
            return NetworkRun(
                self._segmenter,
                first.index,
                image=image,
                labels=labels,
                plan=self._plan,  # made for a second look at the whole image
                seconds=self._seconds,
                maps=self._maps,
                looked=looked,
            )

    def _merge(self, work: NetworkRun) -> None:
        """Lay what a network found over the labels so far."""
        found, evidence = work.finish()
        spec = work.network.spec
        if work.index == 0 and spec.context_mm is None:
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
