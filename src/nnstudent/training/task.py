"""What one model is to learn from which cases, and how the cases are split into folds.

Pure functions; nothing here needs torch.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, find_classes
from nnstudent.training.recipe import Recipe
from nnstudent.words import count

log = logging.getLogger(__name__)

ENOUGH_TO_HOLD_OUT = 5  # fully annotated cases; with fewer, a student holds none out


@dataclass(frozen=True)
class Task:
    """One model to train.

    Attributes:
        name: ``organs``, ``tumor`` or ``student``.
        taxonomy: The label table.
        classes: Names of the classes; the channel of ``classes[i]`` is i + 1.
        cases: The cases to learn from; each has a label map.
        recipe: Network and training.
        folds: Number of models to train, each on its own part of the cases.
        truth: Cases to validate on: a person labeled all classes that are validated.
        pseudo: By case, the classes whose labels are pseudo-labels.
        uncertainty: By case, the files with each voxel's probability and runner-up label; only if
            the recipe distills.
    """

    name: str
    taxonomy: Taxonomy
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    recipe: Recipe
    folds: int
    truth: frozenset[str]
    pseudo: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uncertainty: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

    @property
    def dataset_name(self) -> str:
        """nnU-Net's name of the dataset."""
        return f"Dataset001_{self.name}"

    @property
    def partly_annotated(self) -> dict[str, tuple[int, ...]]:
        """The channels that are annotated, of each case in which not all are."""
        partly = {}
        for case in self.cases:
            annotated = tuple(
                channel for channel, name in enumerate(self.classes, 1) if name in case.annotated
            )
            if len(annotated) < len(self.classes):
                partly[case.id] = annotated
        return partly

    @property
    def marginal(self) -> dict[str, tuple[int, ...]]:
        """The partly annotated cases if the recipe's loss leaves their other classes open.

        With ``partial = "background"`` there are none: those classes are background.
        """
        return self.partly_annotated if self.recipe.training.partial == "marginal" else {}

    @property
    def lesions(self) -> dict[str, int]:
        """The channel of each lesion class."""
        return {
            name: channel
            for channel, name in enumerate(self.classes, 1)
            if name in self.taxonomy.lesions
        }

    @property
    def hidden(self) -> dict[str, tuple[str, ...]]:
        """By case, the pseudo-labeled classes that become background when the case is held out."""
        return {id: names for id, names in self.pseudo.items() if id in self.truth}

    @property
    def drawn_more(self) -> frozenset[str]:
        """The cases whose labels are all a person's, if the recipe draws these more often."""
        if not self.recipe.training.true_share:
            return frozenset()
        wanted = set(self.classes)
        return frozenset(
            case.id
            for case in self.cases
            if wanted <= case.annotated and not wanted & set(self.pseudo.get(case.id, ()))
        )

    @property
    def donors(self) -> dict[str, tuple[int, ...]]:
        """By case, the lesion channels that a person annotated, if the recipe pastes lesions."""
        if not self.recipe.training.copy_paste:
            return {}
        true = {
            case.id: case.annotated.difference(self.pseudo.get(case.id, ())) for case in self.cases
        }
        annotated = {
            id: tuple(channel for name, channel in self.lesions.items() if name in names)
            for id, names in true.items()
        }
        return {id: channels for id, channels in annotated.items() if channels}


@dataclass(frozen=True)
class Split:
    """One fold's cases.

    Attributes:
        train: Ids to learn from.
        val: Ids to validate on; some of ``train`` if there are too few to hold any out.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]


def organ_task(cohort: Cohort, recipe: Recipe, *, folds: int) -> Task:
    """The organ teachers, which learn from the training cases with all organs annotated.

    With ``partial = "marginal"`` they learn from every training case with an organ annotated, and
    only the complete ones are distributed over the folds to validate on.

    Raises:
        InputError: No case is complete, or with ``marginal`` an organ is annotated nowhere.
    """
    organs = cohort.taxonomy.organs
    complete = cohort.annotated_with(organs)
    if not organs:
        raise InputError(
            f"label table {cohort.taxonomy.name} has no organ; "
            "teachers learn the classes of kind organ"
        )
    cases = count(len(cohort.train()), "training case")
    advice = (
        "declare what is annotated (index --annotated), or give a label table that has only "
        "your classes (--taxonomy FILE)"
    )
    if recipe.training.partial == "marginal":
        some = tuple(case for case in cohort.train() if case.annotated.intersection(organs))
        nowhere = [name for name in organs if not any(name in case.annotated for case in some)]
        if nowhere:
            raise InputError(
                f"{', '.join(nowhere)}: annotated in none of {cases}; "
                f"organ teachers need each organ annotated in at least one, {advice}"
            )
        return _teachers(
            "organs", cohort, classes=organs, cases=some, recipe=recipe, folds=folds, truth=complete
        )
    if not complete:
        raise InputError(
            f"no case has all {len(organs)} organs annotated ({cases}, the fullest has "
            f"{_fullest(cohort)}); organ teachers need at least one, {advice}"
        )
    return _teachers("organs", cohort, classes=organs, cases=complete, recipe=recipe, folds=folds)


def tumor_task(cohort: Cohort, recipe: Recipe, *, folds: int, organs: bool = False) -> Task | None:
    """The tumor model, which learns from the training cases with all lesion classes annotated.

    Args:
        cohort: The cohort.
        recipe: Network and training.
        folds: Number of models.
        organs: Whether it also learns the organs that are annotated in all of these cases.

    Returns:
        None, with a notice in the log, if there is no such case.
    """
    lesions = cohort.taxonomy.lesions
    cases = cohort.annotated_with(lesions)
    if not cases:
        why = (
            f"no case has {', '.join(lesions)} annotated"
            if lesions
            else f"label table {cohort.taxonomy.name} has no lesion class"
        )
        log.info("%s: no tumor model is trained", why)
        return None
    shared = frozenset.intersection(*(case.annotated for case in cases)) if organs else lesions
    classes = cohort.taxonomy.sorted(shared)
    if organs and set(classes) == set(lesions):
        log.info("tumor: no organ is annotated in all of its cases, so it learns none")
    return _teachers("tumor", cohort, classes=classes, cases=cases, recipe=recipe, folds=folds)


def _teachers(
    name: str,
    cohort: Cohort,
    *,
    classes: tuple[str, ...],
    cases: tuple[Case, ...],
    recipe: Recipe,
    folds: int,
    truth: tuple[Case, ...] | None = None,
) -> Task:
    complete = cases if truth is None else truth
    possible = max(1, min(folds, len(complete)))
    if possible < folds:
        log.info("%s: %d folds for %d cases, so %d", name, folds, len(complete), possible)
    return Task(
        name,
        cohort.taxonomy,
        classes,
        cases,
        recipe,
        possible,
        truth=frozenset(case.id for case in complete),
    )


def student_task(
    cohort: Cohort,
    recipe: Recipe,
    *,
    organs_only: bool,
    pseudo: Mapping[str, Sequence[str]],
    only: Sequence[str] | None = None,
) -> Task:
    """The student, which learns all annotated classes from all training cases of a fused cohort.

    Args:
        cohort: The fused cohort; ``annotated`` names what truth or pseudo-labels cover.
        recipe: Network and training.
        organs_only: Whether lesion classes are left to another model.
        pseudo: By case, the classes whose labels are pseudo-labels.
        only: The classes to learn, such as those of a cascade's second stage; None for all. Every
            other class is background.

    Raises:
        InputError: No training case has a label, or a class of ``only`` is annotated nowhere.
    """
    marginal = recipe.training.partial == "marginal"
    cases = tuple(case for case in cohort.train() if case.label is not None and case.annotated)
    classes = _student_classes(cohort.taxonomy, cases, organs_only=organs_only, only=only)
    if marginal:  # a case in which none of the classes was looked for teaches nothing
        cases = tuple(case for case in cases if case.annotated.intersection(classes))
    for case in cases:
        uncovered = [name for name in classes if name not in case.annotated]
        if uncovered:
            becomes = "left open" if marginal else "background"
            log.debug("%s: %s not covered, %s there", case.id, ", ".join(uncovered), becomes)
    validated = {name for name in classes if name in cohort.taxonomy.organs} or set(classes)
    truth = frozenset(
        case.id
        for case in cases
        if validated <= case.annotated and not validated & set(pseudo.get(case.id, ()))
    )
    predicted = {
        case.id: cohort.taxonomy.sorted(pseudo[case.id]) for case in cases if pseudo.get(case.id)
    }
    task = Task("student", cohort.taxonomy, classes, cases, recipe, 1, truth, predicted)
    if task.partly_annotated and not marginal:
        log.warning(
            "student: %d of %d cases leave classes open, which it learns as background; "
            'set partial = "marginal" in [student.training], or select without leave_open',
            len(task.partly_annotated),
            len(cases),
        )
    return task


def _student_classes(
    taxonomy: Taxonomy, cases: Sequence[Case], *, organs_only: bool, only: Sequence[str] | None
) -> tuple[str, ...]:
    covered = {name for case in cases for name in case.annotated}
    classes = tuple(
        name for name in taxonomy.sorted(covered) if not organs_only or name in taxonomy.organs
    )
    if only is not None:
        chosen = find_classes(only, classes, where="--only")
        classes = tuple(name for name in classes if name in chosen)
    if not classes:
        raise InputError(
            "the fused cohort has no training case with an annotated class; "
            "label and select cases first"
        )
    return classes


def _fullest(cohort: Cohort) -> str:
    organs = set(cohort.taxonomy.organs)
    case = max(cohort.train(), key=lambda case: len(organs & case.annotated), default=None)
    return "none" if case is None else f"{len(organs & case.annotated)}: {case.id}"


def make_splits(task: Task, usable: Sequence[str]) -> list[Split]:
    """The folds of a task over the cases that could be read.

    With several folds each fully annotated case is validated on once. With one fold a share of
    them is held out if there are at least five; otherwise the model learns from all of them, and
    the validation, on cases that it learned from, only shows that it learns.

    Args:
        task: The task.
        usable: Ids of the cases that could be read, in any order.
    """
    ids = sorted(usable)
    truth = sorted(task.truth & set(ids))
    shuffled = list(truth)
    random.Random(task.recipe.training.seed).shuffle(shuffled)  # noqa: S311  # a split is no secret
    if task.folds > 1 and len(truth) > 1:
        folds = min(task.folds, len(truth))
        parts = [set(shuffled[k::folds]) for k in range(folds)]
        return [
            Split(tuple(id for id in ids if id not in part), tuple(sorted(part))) for part in parts
        ]
    held_out = (
        round(task.recipe.training.held_out * len(truth)) if len(truth) >= ENOUGH_TO_HOLD_OUT else 0
    )
    if not held_out:
        if truth:
            log.info(
                "%s: too few fully labeled cases (%d) to hold any out; "
                "it validates on cases that it learns from",
                task.name,
                len(truth),
            )
        else:
            log.info("%s: no case is labeled by truth; it is not validated", task.name)
        return [Split(tuple(ids), tuple(truth))]
    part = set(shuffled[:held_out])
    return [Split(tuple(id for id in ids if id not in part), tuple(sorted(part)))]
