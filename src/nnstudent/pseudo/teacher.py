"""A model folder as a teacher: the mean of its folds, on the image's grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle.bundle import Model, Network, open_model
from nnstudent.cohort.uncertainty import Uncertainty
from nnstudent.errors import InputError
from nnstudent.inference.case_run import second_stage
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.labels.hosted import give_lesions_to_hosts
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.labels.uncertainty import label_probability, runner_up_labels
from nnstudent.inference.segmenter import Segmenter
from nnstudent.inference.windows.on_device import or_on_host
from nnstudent.labels.class_maps import ClassMap, as_map
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.device_ensemble import combine_on_device
from nnstudent.pseudo.ensemble import (
    MIN_THRESHOLD,
    DecisionRule,
    EnsemblePrediction,
    apply_decision,
    class_confidence,
    combine_folds,
)
from nnstudent.pseudo.lesions import Lesion, lesions_of
from nnstudent.pseudo.overlay import Overlay
from nnstudent.pseudo.pseudo_label import Prediction
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume


@dataclass(frozen=True, eq=False)
class ModelTeacher:
    """A model that labels images with the classes of the cohort's label table.

    Attributes:
        segmenter: Runs the model.
        taxonomy: The cohort's label table.
        channel_ids: For each of the model's networks and each of its channels, the id of the class;
            0 for a class that is not wanted.
        class_names: The model's own names of its classes.
        decision: How the label of a voxel is chosen
            (:class:`~nnstudent.pseudo.settings.TeacherOptions`).
    """

    segmenter: Segmenter
    taxonomy: Taxonomy
    channel_ids: tuple[tuple[int, ...], ...]
    class_names: frozenset[str]
    decision: DecisionRule = "dice"

    @property
    def hash(self) -> str:
        """Identity of the model's content."""
        return self.segmenter.model.hash

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label table that it knows."""
        return self.taxonomy.sorted(
            self.taxonomy.by_id(id).name for ids in self.channel_ids for id in ids if id
        )

    @property
    def settings(self) -> Any:
        """What each channel stands for, how a label is chosen, and in which precision."""
        rule = [] if self.decision == "argmax" else [self.decision, MIN_THRESHOLD]
        asked = self.segmenter.made_by["precision"]
        precision = [] if asked == "fp32" else [asked]
        return [*(list(ids) for ids in self.channel_ids), *rule, *precision]

    def predict(
        self, image: Volume, *, uncertainty: bool = False, progress: Progress = silent
    ) -> Prediction:
        """Label one image by the mean of the folds' probabilities, as ``decision`` says.

        Lesions are those of the model's lesion stage, if it has one, by its thresholds, as
        ``segment`` shows them.

        Args:
            image: The image, in HU.
            uncertainty: Also say how uncertain each voxel is; what a lesion stage decides counts as
                certain.
            progress: Called after each window.
        """
        overlay = Overlay(image.array.shape, self.taxonomy, uncertainty=uncertainty)
        organs = Overlay(image.array.shape, self.segmenter.taxonomy, uncertainty=False)
        confidence: dict[str, float] = {}
        agreement: dict[str, float] = {}
        folds: list[int] = []
        lesions: list[Lesion] = []
        for network, ids in enumerate(self.channel_ids):
            spec = self.segmenter.model.networks[network].spec
            if spec.context_mm is not None or not (any(ids) or self._stage):
                continue
            ensemble, scores = self._ensemble(image, network, ids, progress)
            decided = self._decided(scores, ids)
            found = class_confidence(scores.values, decided.values.argmax(axis=0), labels=ids)
            predicted = self.segmenter.restore(decided, onto=image)
            del decided  # as large as the scores
            own = None
            if uncertainty:
                own = Uncertainty(
                    label_probability(predicted, scores), runner_up_labels(predicted, scores)
                )
            overlay.add(predicted.array, known=sorted(set(ids) - {0}), uncertainty=own)
            if self._stage:  # it looks at the model's own classes, whichever are wanted
                every = (0, *self.segmenter.ids(spec.foreground))
                seen = self.segmenter.restore(self._decided(scores, every), onto=image)
                organs.add(seen.array, known=every[1:], uncertainty=None)
            # On a label that only the mean brings to light, and no fold alone, no folds agree.
            unseen = dict.fromkeys(found, 0.0) if ensemble.folds > 1 else {}
            confidence |= self._by_name(found)
            agreement |= self._by_name(unseen | ensemble.agreement)
            folds.append(ensemble.folds)
            lesions += self._lesions(predicted, ensemble, scores.frame, ids)
        if stage := self._stage:
            confidence |= self._add_lesions(overlay, organs.labels, image, stage, progress)
            lesions = []  # a lesion stage is one network, and has no folds
        return Prediction(
            overlay.labels,
            confidence,
            agreement,
            min(folds),
            overlay.uncertainty,
            tuple(lesions),
        )

    def _lesions(
        self, labels: Volume, ensemble: EnsemblePrediction, frame: Frame, ids: tuple[int, ...]
    ) -> tuple[Lesion, ...]:
        """The lesions of an ensemble, each with the agreement of its folds."""
        if ensemble.folds < 2 or ensemble.lesions is None:
            return ()
        own = self._lesion_ids(ids)
        share = ensemble.lesions / ensemble.folds
        return lesions_of(labels, share, frame=frame, ids=own, taxonomy=self.taxonomy)

    def _lesion_ids(self, ids: tuple[int, ...]) -> list[int]:
        return [
            self.taxonomy[name].id
            for name in self.taxonomy.lesions
            if self.taxonomy[name].id in ids
        ]

    @property
    def _stage(self) -> int | None:
        """The lesion stage among the model's networks, never the first, if lesions are wanted."""
        networks = self.segmenter.model.networks
        stages = (
            k for k, ids in enumerate(self.channel_ids) if networks[k].spec.hosts and any(ids)
        )
        return next(stages, None)

    def _decided(self, scores: ClassScores, ids: tuple[int, ...]) -> ClassScores:
        """Scores of which the largest gives each voxel its label, among these ids."""
        values = apply_decision(scores.values, ids, decision=self.decision)
        return replace(scores, values=values, ids=ids)

    def _add_lesions(
        self, overlay: Overlay, organs: LabelArray, image: Volume, stage: int, progress: Progress
    ) -> dict[str, float]:
        """Lay the lesions of the lesion stage over the organs; returns their confidence."""
        labels, evidence = second_stage(
            self.segmenter, stage, image=image, labels=organs, progress=progress
        )
        ids, spec = self.channel_ids[stage], self.segmenter.model.networks[stage].spec
        lesion = next(id for id in ids if id)
        name = spec.classes[ids.index(lesion)]
        revised = overlay.labels.copy()
        give_lesions_to_hosts(revised, [lesion])
        revised[labels == self.segmenter.taxonomy[name].id] = lesion
        overlay.revise(revised)
        sure = evidence.get(name, {}).get("confidence", math.nan)
        return {} if math.isnan(sure) else self._by_name({lesion: sure})

    def _ensemble(
        self, image: Volume, network: int, ids: tuple[int, ...], progress: Progress
    ) -> tuple[EnsemblePrediction, ClassScores]:
        def on_host() -> tuple[EnsemblePrediction, ClassScores]:
            members = self.segmenter.predict_members(image, network=network, progress=progress)
            pairs = ((scores.probabilities().values, scores) for scores in members)
            return self._combined(pairs, ids, combine=combine_folds)

        def on_device() -> tuple[EnsemblePrediction, ClassScores]:
            pairs = self.segmenter.members_on_device(image, network=network, progress=progress)
            return self._combined(pairs, ids, combine=combine_on_device)

        if self.segmenter.runner.sums_on_device(network):
            return or_on_host(on_device, on_host)
        return on_host()

    def _combined(
        self,
        members: Iterator[tuple[Any, ClassScores]],
        ids: tuple[int, ...],
        *,
        combine: Callable[..., EnsemblePrediction],
    ) -> tuple[EnsemblePrediction, ClassScores]:
        """The ensemble of members, and its mean with what restoring it needs."""
        template: list[ClassScores] = []

        def folds() -> Iterator[Any]:
            for values, scores in members:
                if not template:  # only how to restore the scores is kept, not their values
                    empty = np.broadcast_to(np.float32(0), scores.values.shape)
                    template.append(replace(scores, values=empty))
                yield values

        lesions = self._lesion_ids(ids)
        ensemble = combine(folds(), ids, lesions=lesions, decision=self.decision)
        return ensemble, replace(template[0], values=ensemble.mean, kind="probabilities", ids=ids)

    def _by_name(self, values: Mapping[int, float]) -> dict[str, float]:
        return {self.taxonomy.by_id(id).name: value for id, value in values.items()}


def open_teachers(
    paths: Sequence[Path | None],
    taxonomy: Taxonomy,
    *,
    mapping: ClassMap | Mapping[str, str] | None = None,
    options: TeacherOptions | None = None,
) -> list[ModelTeacher]:
    """Open several models as teachers.

    Args:
        paths: Model folders; see :func:`open_teacher`.
        taxonomy: The cohort's label table.
        mapping: Class name of a model → class of the table, or a class map.
        options: How teachers are run.

    Raises:
        InputError: A folder is not a usable model, or ``mapping`` names a class that no model or
            the table does not have.
    """
    given = as_map(mapping or {}, taxonomy=taxonomy)
    mapping = {name: targets[0] for name, targets in given.targets.items() if len(targets) == 1}
    opened = [open_teacher(path, taxonomy, mapping=mapping, options=options) for path in paths]
    class_names = {name for teacher in opened for name in teacher.class_names}
    for foreign, targets in given.targets.items():
        if len(targets) > 1 and foreign in class_names:
            raise InputError(
                f"--map {foreign}={'+'.join(targets)}: a model's class cannot be two; segment with "
                "it, and give the label maps to --from"
            )
        if foreign not in class_names and not given.source:
            raise InputError(
                f"--map {foreign}=…: no model has a class {foreign!r}; "
                f"they have {', '.join(sorted(class_names))}"
            )
    return opened


def open_teacher(
    path: Path | None,
    taxonomy: Taxonomy,
    *,
    mapping: Mapping[str, str] | None = None,
    options: TeacherOptions | None = None,
) -> ModelTeacher:
    """Open a model as a teacher.

    Args:
        path: An nnU-Net model folder, whose folds form an ensemble, a bundle, or None for the
            bundled student.
        taxonomy: The cohort's label table.
        mapping: Class name of the model → class of the table. A class that is neither in it nor in
            the table is background.
        options: How the teacher is run.

    Raises:
        InputError: The folder is not a usable model, or none of its classes is in the table.
    """
    options = options or TeacherOptions()
    model = open_model(path, trust_pickle=options.trust_pickle)
    if any(network.spec.regions for network in model.networks):
        raise InputError(
            f"{model.path}: its classes are overlapping regions, from which no probability of a "
            "single label follows; teach with a model whose labels exclude each other, or label "
            "with segment and give the label maps to --from"
        )
    channel_ids = _ids_by_network(model, taxonomy, mapping or {})
    if not any(id for ids in channel_ids for id in ids):
        raise InputError(
            f"{model.path}: none of its classes ({_first_names(model)}) is in the label table "
            f"{taxonomy.name} ({', '.join(taxonomy.names[:5])} …); "
            "say which is which with --map foreign=class,…"
        )
    segmenter = Segmenter(
        model,
        engine=options.engine,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
    )
    class_names = frozenset(
        name
        for network in model.networks
        for channel in range(1, len(network.spec.classes))
        for name in (network.own_names.get(channel, ""), network.spec.classes[channel])
        if name
    )
    return ModelTeacher(segmenter, taxonomy, channel_ids, class_names, options.decision)


def classes_known(
    model: Model, taxonomy: Taxonomy, mapping: ClassMap | None = None
) -> tuple[str, ...]:
    """The classes of a label table that a model would label as a teacher.

    Args:
        model: The model.
        taxonomy: The label table.
        mapping: The model's names of the classes, if they differ.
    """
    names = {
        name: targets[0]
        for name, targets in (mapping.targets if mapping else {}).items()
        if len(targets) == 1
    }
    ids = {id for ids in _ids_by_network(model, taxonomy, names) for id in ids if id}
    return tuple(name for name in taxonomy.names if taxonomy[name].id in ids)


def _ids_by_network(
    model: Model, taxonomy: Taxonomy, mapping: Mapping[str, str]
) -> tuple[tuple[int, ...], ...]:
    """For each network and each of its channels, the id of the class that it answers for.

    The second stage of a cascade only sees what is near the first stage's findings, but a teacher
    has to answer for every voxel. A lesion stage answers for lesions: there are none elsewhere.
    """
    ids = []
    for network in model.networks:
        own = _channel_ids(network, taxonomy, mapping)
        if network.spec.context_mm is not None:
            wanted = {taxonomy[name].id for name in taxonomy.lesions if network.spec.hosts}
            own = tuple(id if id in wanted else 0 for id in own)
        ids.append(own)
    return tuple(ids)


def _channel_ids(
    network: Network, taxonomy: Taxonomy, mapping: Mapping[str, str]
) -> tuple[int, ...]:
    ids = [0]
    wanted = taxonomy.lesions if network.spec.lesions_only else taxonomy.names
    # A bundle's names were tidied or translated; the maker's own take precedence.
    for channel, tidied in enumerate(network.spec.foreground, start=1):
        name = mapping.get(network.own_names.get(channel, ""), mapping.get(tidied, tidied))
        ids.append(taxonomy[name].id if name in wanted else 0)
    return tuple(ids)


def _first_names(model: Model) -> str:
    return ", ".join(model.classes[:5]) + (" …" if len(model.classes) > 5 else "")
