"""A batch on its device, and the augmentations that work on whole batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from nnstudent.training.annotated import PartialLabels
from nnstudent.training.augment.copy_paste import CopyPaste
from nnstudent.training.augment.cutmix import CutMix
from nnstudent.training.augment.replay import Replay
from nnstudent.training.precision import Precision
from nnstudent.training.recipe import Recipe


class Batch(NamedTuple):
    """The windows of one step.

    Attributes:
        image: (sample, channel, z, y, x).
        targets: Labels at each resolution of the loss, finest first, (sample, item, z, y, x).
        cases: The case of each sample.
    """

    image: Tensor
    targets: list[Tensor]
    cases: list[str]

    @classmethod
    def load(cls, loaded: Mapping[str, Any], precision: Precision) -> Batch:
        """Move what nnU-Net's loader returns to the device."""
        targets = loaded["target"] if isinstance(loaded["target"], list) else [loaded["target"]]
        moved = [target.to(precision.device, non_blocking=True) for target in targets]
        return cls(precision.move(loaded["data"]), moved, [str(case) for case in loaded["keys"]])


class BatchAugmentation:
    """Copy-paste, CutMix and the replay of hard batches, as the recipe asks for them."""

    def __init__(self, recipe: Recipe, partial: PartialLabels, *, ignore: int | None) -> None:
        """Start with no earlier batch.

        Args:
            recipe: The recipe.
            partial: The partially annotated cases, and the lesion classes.
            ignore: The ignore label, if there is one.
        """
        training = recipe.training
        self._partial = partial
        self._mix = (
            CutMix(training.cutmix, recipe.network.downsampling) if training.cutmix else None
        )
        self._paste = CopyPaste(training.copy_paste, ignore=ignore) if training.copy_paste else None
        self._replay = (
            Replay(training.replay, lesions=partial.lesions)
            if training.replay and partial.lesions
            else None
        )

    def next(self, load: Callable[[], Batch]) -> Batch:
        """The batch of a step: a hard one from an earlier step, or a new one, augmented.

        Args:
            load: Loads the new batch; not called if an earlier one is replayed.
        """
        hard = None if self._replay is None else self._replay.draw()
        if hard is not None:
            return Batch(hard.image, hard.targets, hard.cases)
        batch = load()
        self._augment(batch)
        return batch

    def _augment(self, batch: Batch) -> None:
        """Mix windows in place; lesions first, while each window still is of one case."""
        image, targets, cases = batch
        if self._paste is not None:
            self._paste(
                image,
                targets,
                true=[self._partial.lesion_truth.get(case, ()) for case in cases],
                closed=[self._partial.closed_lesions(case) for case in cases],
            )
        if self._mix is not None:
            self._mix(
                image, targets, [table.tobytes() for table in self._partial.possible_in(cases)]
            )

    def record(self, batch: Batch, scores: Tensor, possible: Tensor | None) -> None:
        """Keep a batch for replay if it is among the hardest.

        Args:
            batch: The batch of the step.
            scores: The network's scores at the finest resolution, (sample, class, z, y, x).
            possible: What the labels leave open, (sample, label, class); None for nothing.
        """
        if self._replay is not None:
            self._replay.record(batch.image, batch.targets, batch.cases, scores, possible)
