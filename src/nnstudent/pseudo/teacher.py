"""A model folder as a teacher: its folds asked one by one, their mean carried to the image's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.bundle import Model, Network, open_model
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.uncertainty import Uncertainty, combine_uncertainty
from nnstudent.errors import InputError
from nnstudent.inference.labels.scores import Scores
from nnstudent.inference.labels.uncertainty import probability_of, runner_up_of
from nnstudent.inference.segmenter import Segmenter
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.ensemble import LEAST, Decision, Verdict, combine, confidence, weighted
from nnstudent.pseudo.external import label_names
from nnstudent.pseudo.pseudo_label import Guess
from nnstudent.serialization import read_json_table
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class ModelTeacher:
    """A model that labels images under the cohort's label table.

    Attributes:
        segmenter: Runs the model.
        taxonomy: The cohort's label table.
        meaning: For each of the model's networks, for each channel the id that it stands for; 0 for what is not wanted.
        foreign: The model's own names of its classes.
        decision: Which label a voxel gets: ``argmax``, the most probable one, or ``dice``, so that each label is expected to have the
            best Dice (:func:`~nnstudent.pseudo.ensemble.dice_weights`).
    """

    segmenter: Segmenter
    taxonomy: Taxonomy
    meaning: tuple[tuple[int, ...], ...]
    foreign: frozenset[str]
    decision: Decision = "dice"

    @property
    def hash(self) -> str:
        """Identity of the model's content."""
        return self.segmenter.model.hash

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label table that it knows."""
        return self.taxonomy.sorted(
            self.taxonomy.by_id(id).name for ids in self.meaning for id in ids if id
        )

    @property
    def settings(self) -> Any:
        """What each channel stands for, and how a voxel is decided on."""
        return [
            *(list(ids) for ids in self.meaning),
            *([] if self.decision == "argmax" else [self.decision, LEAST]),
        ]

    def guess(
        self, image: Volume, *, probability: bool = False, progress: Progress = silent
    ) -> Guess:
        """Label one image by the mean of the folds' probabilities, as ``decision`` says.

        Args:
            image: The image, in HU.
            probability: Also say how probable the label of each voxel is, and what it would be else.
            progress: Told after each window.
        """
        labels: LabelArray = np.zeros(image.array.shape, np.uint8)
        doubt = Uncertainty.certain(labels.shape) if probability else None
        sure: dict[str, float] = {}
        agreement: dict[str, float] = {}
        folds: list[int] = []
        for network, ids in enumerate(self.meaning):
            if not any(ids):
                continue
            verdict, scores = self._verdict(image, network, ids, progress)
            decided = replace(scores, values=weighted(scores.values, ids, self.decision))
            given = confidence(scores.values, decided.values.argmax(axis=0), ids)
            sure |= self._named(given)
            said = self.segmenter.restore(decided, onto=image)
            del decided  # as large as the scores
            beneath, labels = (
                labels,
                fuse(said.array, labels, annotated=sorted(set(ids) - {0}), taxonomy=self.taxonomy),
            )
            if doubt is not None:
                own = Uncertainty(probability_of(said, scores), runner_up_of(said, scores))
                doubt = combine_uncertainty(labels, said.array, own, beneath=beneath, before=doubt)
            # What only the mean brings to light no fold has found by itself: nothing that they agree on.
            unseen = dict.fromkeys(given, 0.0) if verdict.folds > 1 else {}
            agreement |= self._named(unseen | verdict.agreement)
            folds.append(verdict.folds)
        return Guess(labels, sure, agreement, min(folds), doubt)

    def _verdict(
        self, image: Volume, network: int, ids: tuple[int, ...], progress: Progress
    ) -> tuple[Verdict, Scores]:
        first: list[Scores] = []

        def members() -> Any:
            for scores in self.segmenter.predict_members(image, network=network, progress=progress):
                if not first:  # only how to restore it is kept, not its values
                    first.append(
                        replace(scores, values=np.broadcast_to(np.float32(0), scores.values.shape))
                    )
                yield scores.probabilities().values

        verdict = combine(members(), ids, decision=self.decision)
        return verdict, replace(first[0], values=verdict.mean, kind="probabilities", ids=ids)

    def _named(self, values: Mapping[int, float]) -> dict[str, float]:
        return {self.taxonomy.by_id(id).name: value for id, value in values.items()}


def open_teacher(
    path: Path | None,
    taxonomy: Taxonomy,
    *,
    mapping: Mapping[str, str] | None = None,
    decision: Decision = "dice",
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    trust_pickle: bool = False,
) -> ModelTeacher:
    """Open a model as a teacher.

    Args:
        path: An nnU-Net model folder, whose folds form an ensemble, a bundle, or None for the bundled student.
        taxonomy: The cohort's label table.
        mapping: Foreign class name → class of the table; a foreign class that is neither in it nor in the table is background.
        decision: See :class:`ModelTeacher`.
        engine: ``auto``, ``openvino`` or ``torch``.
        device: ``auto`` (CUDA where torch finds a GPU), ``cpu`` or ``cuda``.
        threads: Processor threads; None for all there are.
        trust_pickle: Also load checkpoints that hold more than tensors.

    Raises:
        InputError: The folder is no usable model, or none of its classes is in the table.
    """
    model = open_model(path, trust_pickle=trust_pickle)
    if any(network.spec.regions for network in model.networks):
        raise InputError(
            f"{model.path}: its classes are regions that lie over each other, of which no probabilities of one label follow; "
            "only models whose labels exclude each other can teach, or label with segment and take that in with --from"
        )
    own = _own_names(model)
    # The second stage of a cascade says something only near what the first found: a teacher is asked of every voxel.
    meaning = tuple(
        _ids(network, own, taxonomy, mapping or {})
        if network.spec.near_mm is None
        else (0,) * len(network.spec.classes)
        for network in model.networks
    )
    if not any(id for ids in meaning for id in ids):
        raise InputError(
            f"{model.path}: none of its classes ({_few(model)}) is in the label table {taxonomy.name} ({', '.join(taxonomy.names[:5])} …); "
            "say which is which with --map foreign=class,…"
        )
    foreign = frozenset(own.values()).union(
        *(network.spec.foreground for network in model.networks)
    )
    return ModelTeacher(
        Segmenter(model, engine=engine, device=device, threads=threads),
        taxonomy,
        meaning,
        foreign,
        decision,
    )


def _own_names(model: Model) -> dict[int, str]:
    """Channel → the name that an nnU-Net folder's maker gave it; the bundle's own names are tidied or translated ones."""
    if model.kind != "nnunet":
        return {}
    return {
        value: name
        for name, value in label_names(
            read_json_table(model.path / "dataset.json", what="a model"), where=model.path
        ).items()
    }


def _ids(
    network: Network, own: Mapping[int, str], taxonomy: Taxonomy, mapping: Mapping[str, str]
) -> tuple[int, ...]:
    ids = [0]
    for channel, tidied in enumerate(network.spec.foreground, start=1):
        name = mapping.get(own.get(channel, ""), mapping.get(tidied, tidied))
        ids.append(taxonomy[name].id if name in taxonomy.names else 0)
    return tuple(ids)


def _few(model: Model) -> str:
    names = model.classes
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
