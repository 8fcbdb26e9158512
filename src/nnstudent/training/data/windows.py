"""The windows that a trainer draws: a stream to train on and a fixed set to validate on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

from nnstudent.training.annotated import PartialLabels
from nnstudent.training.augment.host_view import make_host_view
from nnstudent.training.augment.paint import make_painter
from nnstudent.training.augment.transforms import (
    initial_patch,
    training_transforms,
    validation_transforms,
)
from nnstudent.training.data.loading import CACHE_BYTES, CachedDataset, Prefetch, WindowLoader
from nnstudent.training.recipe import Recipe


@dataclass(frozen=True)
class Windows:
    """Where windows come from and how they are drawn.

    Attributes:
        folder: nnU-Net's folder of preprocessed cases.
        recipe: The recipe.
        label_manager: nnU-Net's label manager.
        partial: The partially annotated cases.
        channels: The channel of each class, by name.
        intensity: ``mean`` and ``std`` of the plans, by which images are normalized.
        batch: Windows in a batch.
        foreground: Share of windows that are centered on a class.
        random_kind: Whether chance decides which windows of a batch these are.
    """

    folder: str
    recipe: Recipe
    label_manager: Any
    partial: PartialLabels
    channels: Mapping[str, int]
    intensity: Mapping[str, float]
    batch: int
    foreground: float
    random_kind: bool

    def start(
        self,
        train: Sequence[str],
        validation: Sequence[str],
        *,
        scales: Any,
        batches: int,
        processes: int,
        pinned: bool,
    ) -> tuple[Prefetch | NonDetMultiThreadedAugmenter, Iterator[Any]]:
        """Draw the validation windows, then start drawing the training's.

        The order matters: both draw from NumPy's global random state, the training's in a thread.

        Args:
            train: Ids of the cases to learn from.
            validation: Ids of the cases to validate on; may be empty.
            scales: Scale of each resolution of the loss, as nnU-Net gives them.
            batches: Validation batches.
            processes: Processes that augment; 0 for one thread.
            pinned: Whether training batches are put in pinned memory.

        Returns:
            Training batches without end; the same few validation batches again and again.
        """
        what: Any = {
            "channels": self.channels,
            "lesions": self.partial.lesions,
            "intensity": self.intensity,
        }
        augmented = training_transforms(
            self.recipe,
            scales,
            ignore=self.label_manager.ignore_label,
            lesions=self.partial.lesions,
            painter=make_painter(self.recipe, **what),
            view=make_host_view(self.recipe, **what, perfect=False),
        )
        loader = self._loader(
            train, crop=initial_patch(self.recipe), transforms=augmented, cached=not processes
        )
        loader.sampling_probabilities = self.partial.draw(
            loader.indices, true_share=self.recipe.training.true_share
        )
        fixed: list[Any] = []
        if validation:
            patch = list(self.recipe.data.patch)
            plain = validation_transforms(
                scales, view=make_host_view(self.recipe, **what, perfect=True)
            )
            drawn = self._loader(validation, crop=patch, transforms=plain, cached=False)
            fixed = [next(drawn) for _ in range(batches)]
        if not processes:
            return Prefetch(loader), itertools.cycle(fixed)
        stream = NonDetMultiThreadedAugmenter(
            loader, None, processes, max(6, processes // 2), None, pinned, wait_time=0.002
        )
        return stream, itertools.cycle(fixed)

    def _loader(
        self, cases: Sequence[str], *, crop: Sequence[int], transforms: Any, cached: bool
    ) -> WindowLoader:
        data = self.recipe.data
        dataset = CachedDataset(self.folder, list(cases), limit_bytes=CACHE_BYTES if cached else 0)
        return WindowLoader(
            dataset,
            self.batch,
            list(crop),
            list(data.patch),
            self.label_manager,
            oversample_foreground_percent=self.foreground,
            probabilistic_oversampling=self.random_kind,
            transforms=transforms,
            lesions=self.partial.lesions,
            lesion_oversampling=data.lesion_oversampling,
            focus=[self.channels[name] for name in data.focus if name in self.channels],
        )
