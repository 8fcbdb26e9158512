"""nnU-Net's preprocessing of single cases, doing only what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnstudent.cohort.cohort import Case
from nnstudent.io.atomic import write_json
from nnstudent.io.record import read_state
from nnstudent.training.data.inspect import CaseFacts
from nnstudent.training.data.uncertainty import save_with_uncertainty, uncertainty_files
from nnstudent.training.plans import CONFIGURATION
from nnstudent.training.task import Split, Task

_ENDINGS = (".b2nd", "_seg.b2nd", ".npz", ".pkl")  # of what nnU-Net may write for a case


class CasePreprocessor:
    """Preprocesses one case a call, and records the sizes of what was written."""

    def __init__(
        self,
        task: Task,
        *,
        plans: Mapping[str, Any],
        dataset_json: Mapping[str, Any],
        facts: Mapping[str, CaseFacts],
        splits: Sequence[Split],
        raw: Path,
        folder: Path,
    ) -> None:
        """Set up nnU-Net's preprocessor.

        Args:
            task: The task.
            plans: nnU-Net's plans.
            dataset_json: nnU-Net's dataset.json.
            facts: The cases, by id.
            splits: The folds.
            raw: Folder of the label maps.
            folder: nnU-Net's folder of preprocessed cases.
        """
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self._task, self._facts, self._raw = task, facts, raw
        self._held_out = held_out(splits)
        self._plans: Any = PlansManager(dict(plans))
        self._configuration: Any = self._plans.get_configuration(CONFIGURATION)
        self._dataset_json = dict(dataset_json)
        self._records = folder / "written"
        self._folder = folder / self._configuration.data_identifier
        self._folder.mkdir(parents=True, exist_ok=True)
        self._preprocessor: Any = self._configuration.preprocessor_class(verbose=False)

    def __call__(self, case: Case) -> None:
        """Preprocess a case, unless it is there already."""
        record = self._records / f"{case.id}.json"
        files = [self._folder / f"{case.id}{ending}" for ending in _ENDINGS]
        if read_state(record, what="a preprocessed case") == _sizes(files):
            return
        for file in files:  # half-written by a call that was killed
            file.unlink(missing_ok=True)
        facts = self._facts[case.id]
        arguments: Any = (
            str(self._folder / case.id),
            [str(facts.image)],
            str(facts.label),
            self._plans,
            self._configuration,
            self._dataset_json,
        )
        if self._task.recipe.training.distill:
            maps = (
                None
                if case.id in self._held_out
                else uncertainty_files(self._task, case, self._raw)
            )
            save_with_uncertainty(self._preprocessor, *arguments, files=maps)
        else:
            self._preprocessor.run_case_save(*arguments)
        write_json(record, _sizes(files))


def held_out(splits: Sequence[Split]) -> frozenset[str]:
    """The cases that are validated on and not learned from in some fold."""
    return frozenset(id for split in splits for id in set(split.val).difference(split.train))


def _sizes(files: Sequence[Path]) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in files if file.is_file()}
