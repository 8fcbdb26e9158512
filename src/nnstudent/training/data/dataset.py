"""A task's cases as nnU-Net wants them: fingerprint, plans and preprocessed arrays.

Images are not copied if nnU-Net can read them as they are.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case
from nnstudent.errors import Failure, InputError
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.io.record import data_hash, read_state
from nnstudent.progress import Progress, silent
from nnstudent.serialization import Record
from nnstudent.training.annotated import volumes_if_annotated
from nnstudent.training.data.inspect import (
    CaseFacts,
    inspect_case,
    make_fingerprint,
    to_channels,
)
from nnstudent.training.data.preprocess import CasePreprocessor, held_out
from nnstudent.training.environment import nnunet_folders
from nnstudent.training.plans import (
    PLANS_NAME,
    Fingerprint,
    check_plans,
    make_dataset_json,
    make_plans,
)
from nnstudent.training.task import Split, Task, make_splits

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """What training needs, ready on disk.

    Attributes:
        plans: nnU-Net's plans.
        dataset_json: nnU-Net's dataset.json.
        splits: The folds.
        failures: Cases that were left out, with the reason.
        work: Folder that holds ``raw``, ``preprocessed`` and ``results``.
    """

    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    splits: list[Split]
    failures: tuple[Failure, ...]
    work: Path


def prepare(
    task: Task, work: Path, made_from: Any, *, threads: int = 1, progress: Progress = silent
) -> Prepared:
    """Preprocess a task's cases with nnU-Net, doing only what is missing in ``work``.

    Args:
        task: The task.
        work: Folder to write; what another task or recipe left there is removed.
        made_from: What the task is made from (:func:`nnstudent.training.provenance.task_source`).
        threads: Cases worked on at a time.
        progress: Called after each case.

    Raises:
        InputError: No case could be read.
    """
    mark = work / "task.json"
    if (read_state(mark, what="a training") or {}).get("made_from") != data_hash(made_from):
        shutil.rmtree(work, ignore_errors=True)
        write_json(mark, {"made_from": data_hash(made_from)})
    folder = work / "preprocessed" / task.dataset_name
    with nnunet_folders(work, log_file=work / "prepare.log", progress=progress) as report:
        done = folder / "prepared.json"
        state = read_state(done, what="a training")
        if state is not None:
            # nnU-Net imports what the plans name.
            check_plans(state.get("plans"), state.get("dataset_json"), where=done)
        else:
            preparation = _Preparation(task, work, threads=threads, progress=report)
            state = preparation.run()
            write_json(done, state)
    kept = Record(state, str(done))
    failures = tuple(
        Failure(row.get("case", str), row.get("reason", str)) for row in kept.rows("failures")
    )
    splits: list[Split] = list(kept.get("splits", tuple[Split, ...]))
    write_json(
        folder / "splits_final.json",
        [{"train": list(split.train), "val": list(split.val)} for split in splits],
    )
    return Prepared(state["plans"], state["dataset_json"], splits, failures, work)


class _Preparation:
    """Inspects a task's cases, plans from them and preprocesses them; failed ones are left out."""

    def __init__(self, task: Task, work: Path, *, threads: int, progress: Progress) -> None:
        self._task, self._threads, self._progress = task, threads, progress
        self._raw = work / "raw" / task.dataset_name
        self._folder = work / "preprocessed" / task.dataset_name
        self._failures: list[Failure] = []

    def run(self) -> dict[str, Any]:
        """Prepare everything.

        Returns:
            Plans, dataset.json, splits and failures, as plain data.
        """
        task = self._task
        inspected = self._each(
            task.cases,
            lambda case: inspect_case(task, case, self._raw),
            what="reading cases",
            done="read",
        )
        facts = {case.id: facts for case, facts in inspected}
        splits = make_splits(task, list(facts))
        _hide_pseudo(task, splits, self._raw)
        plans, dataset_json = self._write_plans(facts)
        preprocessed = self._each(
            [case for case, _ in inspected],
            CasePreprocessor(
                task,
                plans=plans,
                dataset_json=dataset_json,
                facts=facts,
                splits=splits,
                raw=self._raw,
                folder=self._folder,
            ),
            what="preprocessing",
            done="preprocessed",
        )
        ready = [case.id for case, _ in preprocessed]
        return {
            "plans": plans,
            "dataset_json": dataset_json,
            "splits": [asdict(split) for split in _usable(task, splits, ready)],
            "failures": [
                {"case": failure.case, "reason": failure.reason} for failure in self._failures
            ],
        }

    def _each(
        self, cases: Sequence[Case], work: Callable[[Case], T], *, what: str, done: str
    ) -> list[tuple[Case, T]]:
        """Do ``work`` for each case; a failed one is noted and left out."""
        # Threads, not processes: reading, unzipping and splines take most of the time and let
        # other threads run, and a process takes seconds to import what it needs.
        results, failed = for_each_case(
            cases,
            work,
            files=lambda case: (case.image, case.label),
            what=f"{self._task.name}: {what}",
            threads=self._threads,
            progress=self._progress,
        )
        for failure in failed:
            log.warning("%s: left out of training: %s", failure.case, failure.reason)
        self._failures += failed
        if not results:
            first = self._failures[0]
            raise InputError(
                f"{self._task.name}: none of {len(cases)} cases could be {done}; "
                f"the first: {first.case}: {first.reason}"
            )
        return list(results)

    def _write_plans(self, facts: Mapping[str, CaseFacts]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write what nnU-Net looks for; returns plans and dataset.json."""
        task = self._task
        fingerprint = _fingerprint(task, facts)
        plans = make_plans(
            task.recipe,
            fingerprint,
            dataset_name=task.dataset_name,
            lesions=task.lesions.values(),
        )
        dataset_json = make_dataset_json(
            task.taxonomy,
            task.classes,
            cases=len(facts),
            annotated={id: known for id, known in task.marginal.items() if id in facts},
            lesion_truth={id: known for id, known in task.donors.items() if id in facts},
            true=task.drawn_more.intersection(facts),
            ignore=any(own.ignored for own in facts.values()),
        )
        files = {
            id: {"images": [str(own.image)], "label": str(own.label)} for id, own in facts.items()
        }
        for folder in (self._raw, self._folder):
            write_json(folder / "dataset.json", dataset_json | {"dataset": files})
        write_json(self._folder / f"{PLANS_NAME}.json", plans)
        write_json(self._folder / "dataset_fingerprint.json", asdict(fingerprint))
        return plans, dataset_json


def _fingerprint(task: Task, facts: Mapping[str, CaseFacts]) -> Fingerprint:
    cases = list(facts.values())
    fingerprint = make_fingerprint(cases, task.recipe.data.window_hu)
    marginal = {id: known for id, known in task.marginal.items() if id in facts}
    if not marginal:
        return fingerprint
    # Otherwise a class that few cases have annotated would count as one that is rare.
    everything = range(1, len(task.classes) + 1)
    volumes = volumes_if_annotated(
        [case.volume_ml for case in cases], [marginal.get(id, everything) for id in facts]
    )
    return replace(fingerprint, volume_ml=volumes)


def _hide_pseudo(task: Task, splits: Sequence[Split], raw: Path) -> None:
    """Write the label maps of held-out cases again without pseudo-labels, to validate on truth."""
    hidden = held_out(splits)
    for case in task.cases:
        if case.id in hidden and case.id in task.hidden and case.label is not None:
            write_labels(
                raw / "labels" / f"{case.id}.nii.gz",
                to_channels(read_labels(case.label), task, case, hide=True),
            )


def _usable(task: Task, splits: Sequence[Split], ready: Sequence[str]) -> list[Split]:
    """The splits without cases that failed.

    If any failed, the splits are drawn again, so that no fold is left without cases. They stay
    where pseudo-labels are hidden, because what is held out was preprocessed without them.
    """
    usable = frozenset(ready)
    left = [
        Split(*(tuple(id for id in part if id in usable) for part in (split.train, split.val)))
        for split in splits
    ]
    return left if task.hidden or left == list(splits) else make_splits(task, ready)
