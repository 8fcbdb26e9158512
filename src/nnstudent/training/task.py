"""What one model is to learn from which cases, and how the cases are split into folds. Pure; no torch."""

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

log = logging.getLogger(__name__)

ENOUGH_TO_HOLD_OUT = 5


@dataclass(frozen=True)
class Task:
    """One model to train.

    Attributes:
        name: ``organs``, ``tumor`` or ``student``.
        taxonomy: The label table.
        classes: Names of the classes; the channel of ``classes[i]`` is i + 1.
        cases: The cases to learn from; each has a label map.
        recipe: What is trained.
        folds: Models that are trained, each on its own part of the cases.
        truth: Cases that may be validated on, for they are labeled by a person in all classes that are validated.
        pseudo: By case, the classes whose labels are pseudo-labels.
        doubt: By case, files of how probable each voxel's label is and what it would be else; only where the recipe distils.
    """

    name: str
    taxonomy: Taxonomy
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    recipe: Recipe
    folds: int
    truth: frozenset[str]
    pseudo: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    doubt: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

    @property
    def dataset_name(self) -> str:
        """nnU-Net's name of its dataset."""
        return f"Dataset001_{self.name}"

    @property
    def lacking(self) -> dict[str, tuple[int, ...]]:
        """The cases in which not all classes are annotated, each with the channels of those that are."""
        found = {}
        for case in self.cases:
            known = tuple(
                channel for channel, name in enumerate(self.classes, 1) if name in case.annotated
            )
            if len(known) < len(self.classes):
                found[case.id] = known
        return found

    @property
    def partial(self) -> dict[str, tuple[int, ...]]:
        """Those of them whose open classes the loss leaves open, as the recipe says; else they are background."""
        return self.lacking if self.recipe.training.partial == "marginal" else {}

    @property
    def lesions(self) -> dict[str, int]:
        """The lesion classes, each with its channel."""
        return {
            name: channel
            for channel, name in enumerate(self.classes, 1)
            if name in self.taxonomy.lesions
        }

    @property
    def hidden(self) -> dict[str, tuple[str, ...]]:
        """By case, classes whose voxels are background when the case is held out, for they are pseudo-labels."""
        return {id: names for id, names in self.pseudo.items() if id in self.truth}

    @property
    def donors(self) -> dict[str, tuple[int, ...]]:
        """The cases whose lesions the recipe pastes into others, each with the channels of those that a person looked for."""
        if not self.recipe.training.copy_paste:
            return {}
        true = {
            case.id: case.annotated.difference(self.pseudo.get(case.id, ())) for case in self.cases
        }
        known = {
            id: tuple(channel for name, channel in self.lesions.items() if name in names)
            for id, names in true.items()
        }
        return {id: channels for id, channels in known.items() if channels}


@dataclass(frozen=True)
class Split:
    """One fold's cases.

    Attributes:
        train: Ids to learn from.
        val: Ids to validate on; the same as some of ``train`` where there are too few to hold any out.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]


def organ_task(cohort: Cohort, recipe: Recipe, *, folds: int) -> Task:
    """The organ teachers: they learn from the training cases with all organs annotated.

    With ``partial = "marginal"`` they learn from every training case with an organ annotated, and only the complete ones are
    dealt to the folds to validate on.

    Raises:
        InputError: There is no complete case, or with ``marginal`` an organ that is annotated nowhere.
    """
    organs = cohort.taxonomy.organs
    cases = cohort.annotated_with(organs)
    if not organs:
        raise InputError(
            f"label table {cohort.taxonomy.name} has no organ; teachers learn the classes of kind organ"
        )
    if recipe.training.partial == "marginal":
        some = tuple(case for case in cohort.train() if case.annotated.intersection(organs))
        nowhere = [name for name in organs if not any(name in case.annotated for case in some)]
        if nowhere:
            raise InputError(
                f"{', '.join(nowhere)}: annotated in none of {len(cohort.train())} training cases; organ teachers need each organ "
                "annotated in at least one, declare what is annotated when indexing or use a label table with fewer classes"
            )
        return _teachers("organs", cohort, organs, some, recipe, folds, truth=cases)
    if not cases:
        raise InputError(
            f"no case has all {len(organs)} organs annotated ({len(cohort.train())} training cases, the fullest has {_fullest(cohort)}); "
            "organ teachers need at least one, declare what is annotated when indexing or use a label table with fewer classes"
        )
    return _teachers("organs", cohort, organs, cases, recipe, folds)


def tumor_task(cohort: Cohort, recipe: Recipe, *, folds: int) -> Task | None:
    """The tumor model, from the training cases with all lesion classes annotated; None, with a notice, without such a case."""
    lesions = cohort.taxonomy.lesions
    cases = cohort.annotated_with(lesions)
    if not cases:
        why = (
            f"no case has {', '.join(lesions)} annotated"
            if lesions
            else f"label table {cohort.taxonomy.name} has no lesion class"
        )
        log.info("%s: no tumor model is trained, the path goes on without", why)
        return None
    return _teachers("tumor", cohort, lesions, cases, recipe, folds)


def _teachers(
    name: str,
    cohort: Cohort,
    classes: tuple[str, ...],
    cases: tuple[Case, ...],
    recipe: Recipe,
    folds: int,
    *,
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
    """The student: it learns all annotated classes from all training cases of a fused cohort.

    Args:
        cohort: The fused cohort; ``annotated`` names what truth or pseudo-label covers.
        recipe: What is trained.
        organs_only: Whether lesion classes are left to another model.
        pseudo: By case, the classes whose labels are pseudo-labels.
        only: The classes it learns, such as those of a cascade's second stage; None for all that there are. All else is background.

    Raises:
        InputError: No training case has a label, or a class of ``only`` is annotated nowhere.
    """
    cases = tuple(case for case in cohort.train() if case.label is not None and case.annotated)
    covered = {name for case in cases for name in case.annotated}
    classes = tuple(
        name
        for name in cohort.taxonomy.sorted(covered)
        if not organs_only or name in cohort.taxonomy.organs
    )
    if only is not None:
        chosen = find_classes(only, classes, where="--only")
        classes = tuple(name for name in classes if name in chosen)
    if not classes:
        raise InputError(
            "the fused cohort has no training case with an annotated class; label and select cases first"
        )
    if (
        recipe.training.partial == "marginal"
    ):  # where no class of the student's was looked for there is nothing to learn
        cases = tuple(case for case in cases if case.annotated.intersection(classes))
    for case in cases:
        lacking = [name for name in classes if name not in case.annotated]
        if lacking:
            there = "left open" if recipe.training.partial == "marginal" else "background"
            log.debug("%s: %s not covered, %s there", case.id, ", ".join(lacking), there)
    must = {name for name in classes if name in cohort.taxonomy.organs} or set(classes)
    truth = frozenset(
        case.id
        for case in cases
        if must <= case.annotated and not must & set(pseudo.get(case.id, ()))
    )
    guessed = {
        case.id: cohort.taxonomy.sorted(pseudo[case.id]) for case in cases if pseudo.get(case.id)
    }
    task = Task("student", cohort.taxonomy, classes, cases, recipe, 1, truth, guessed)
    if task.lacking and not task.partial:
        log.warning(
            'student: %d of %d cases leave classes open, which it learns as background; set partial = "marginal" in [student.training], or '
            "select without leave_open",
            len(task.lacking),
            len(cases),
        )
    return task


def _fullest(cohort: Cohort) -> str:
    organs = set(cohort.taxonomy.organs)
    case = max(cohort.train(), key=lambda case: len(organs & case.annotated), default=None)
    return "none" if case is None else f"{len(organs & case.annotated)}: {case.id}"


def make_splits(task: Task, usable: Sequence[str]) -> list[Split]:
    """The folds of a task over the cases that could be read.

    With several folds each case is validated on once. With one fold a share of the true cases is held out if there are
    at least five; else the model learns from all, and the validation, on cases that it learned from, only shows that it learns.

    Args:
        task: The task.
        usable: Ids of the cases that could be read, in any order.
    """
    ids = sorted(usable)
    truth = sorted(task.truth & set(ids))
    shuffled = list(truth)
    random.Random(task.recipe.training.seed).shuffle(shuffled)  # noqa: S311  # a split, no secret
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
                "%s: %d fully labeled cases are too few to hold any out; it validates on cases it learns from",
                task.name,
                len(truth),
            )
        else:
            log.info("%s: no case is labeled by truth; it is not validated", task.name)
        return [Split(tuple(ids), tuple(truth))]
    part = set(shuffled[:held_out])
    return [Split(tuple(id for id in ids if id not in part), tuple(sorted(part)))]
