"""The set that the student learns from: fused label maps, as a cohort and as an nnU-Net dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.fuse import check_ids, fuse, ids_in
from nnstudent.cohort.uncertainty import (
    Uncertainty,
    fused_uncertainty,
    has_uncertainty,
    probability_path,
    read_uncertainty,
    remove_uncertainty,
    runner_up_path,
    write_uncertainty,
)
from nnstudent.data_files import read_json_table
from nnstudent.errors import Failure
from nnstudent.io import nifti
from nnstudent.io.atomic import write_lines
from nnstudent.io.record import file_hash, is_made_from, write_record
from nnstudent.pseudo.lesions import unsure_lesions
from nnstudent.pseudo.pseudo_label import pseudo_label_paths, read_pseudo_label
from nnstudent.pseudo.selection import Decision, SelectSettings
from nnstudent.serialization import Record
from nnstudent.taxonomy import IGNORE, Taxonomy
from nnstudent.types import LabelArray, MaskArray
from nnstudent.volume import Grid, Volume

DATASET = Path("nnUNet_raw/Dataset001_fused")


@dataclass(frozen=True)
class _Sources:
    """What a fused label map is made from, all on the grid of the case's image."""

    grid: Grid
    truth: Volume | None
    pseudo: Volume | None


@dataclass(frozen=True)
class FusedSet:
    """The folder that ``select`` writes.

    Attributes:
        out: The folder.
        pseudo: Folder of the pseudo-labels.
        taxonomy: The label table.
        classes: The classes that the student learns.
        settings: What a pseudo-label must reach.
        hash_of: Returns the content hash of a file.
    """

    out: Path
    pseudo: Path
    taxonomy: Taxonomy
    classes: tuple[str, ...]
    settings: SelectSettings
    hash_of: Callable[[Path], str] = file_hash

    @cached_property
    def values(self) -> dict[str, int]:
        """Class → value in the nnU-Net dataset: consecutive, as nnU-Net requires, in id order."""
        names = sorted(self.classes, key=lambda name: self.taxonomy[name].id)
        return {name: number for number, name in enumerate(names, 1)}

    @property
    def shares_label_maps(self) -> bool:
        """Whether nnU-Net's values are the table's ids, so that the cohort uses its label maps."""
        return not self.settings.ignore_below and all(
            self.taxonomy[name].id == value for name, value in self.values.items()
        )

    def nnunet_path(self, case: str) -> Path:
        """Return where a case's label map is in the nnU-Net dataset."""
        return self.out / DATASET / "labelsTr" / f"{case}.nii.gz"

    def label_path(self, case: str) -> Path:
        """Return where a case's label map with the table's ids is."""
        return self._label_path(case, ignored=self.ignored_share(case))

    def _label_path(self, case: str, *, ignored: float) -> Path:
        if self.shares_label_maps and not ignored:
            return self.nnunet_path(case)
        return self._own_path(case)

    def _own_path(self, case: str) -> Path:
        return self.out / "labels" / f"{case}.nii.gz"

    def record_path(self, case: str) -> Path:
        """Return where the record of a case's label map is."""
        return self.out / "records" / f"{case}.json"

    def ignored_share(self, case: str) -> float:
        """Read the share of a case's voxels that are ignored, 0 to 1; 0 if it was not written."""
        path = self.record_path(case)
        if not path.is_file():
            return 0.0
        record = Record(read_json_table(path, what="a fused label"), str(path))
        share: float = record.get("ignored", float, 0.0)
        return share

    def write_labels(self, case: Case, filled: Sequence[str]) -> bool:
        """Write the fused label map of a case.

        Args:
            case: The case.
            filled: The classes that its pseudo-label fills in; empty if it is not used.

        Returns:
            Whether it was written; False if it was up to date.

        Raises:
            GeometryError: Truth, pseudo-label or uncertainty is not on the image's grid.
            InputError: A file is unreadable or holds an id that is not in the table.
        """
        made_from = self._made_from(case, filled)
        paths = dict.fromkeys((self.nnunet_path(case.id), self.label_path(case.id)))
        if is_made_from(self.record_path(case.id), made_from) and all(
            path.is_file() for path in paths
        ):
            return False
        sources = self._read_sources(case, filled)
        labels = self._fuse(case, sources, filled)
        remove_uncertainty(self.out, case.id)
        files = list(paths)
        more: dict[str, float] = {}
        if sources.pseudo is not None and has_uncertainty(self.pseudo, case.id):
            uncertainty = self._fuse_uncertainty(
                case, labels, truth=sources.truth, pseudo=sources.pseudo, filled=filled
            )
            write_uncertainty(self.out, case.id, uncertainty, sources.grid, like=case.image)
            files += [probability_path(self.out, case.id), runner_up_path(self.out, case.id)]
            if self.settings.ignore_below:
                labels[self._ignored(case, labels, uncertainty)] = IGNORE
        if sources.pseudo is not None and self.settings.min_lesion_agreement:
            labels[self._unsure(case, sources.pseudo.array, labels, filled)] = IGNORE
        if sources.truth is not None:  # where nobody looked, nothing is learned
            labels[sources.truth.array == IGNORE] = IGNORE
        if ignored := np.count_nonzero(labels == IGNORE):
            more["ignored"] = round(ignored / labels.size, 6)
            paths |= {self._own_path(case.id): None}
            files = list(dict.fromkeys([*files, *paths]))
        values, ids = self._tables()
        for path in paths:
            table = values if path == self.nnunet_path(case.id) else ids
            nifti.write_labels(path, Volume(table[labels], sources.grid), like=case.image)
        write_record(
            self.record_path(case.id),
            stage="select",
            made_from=made_from,
            files=files,
            case=case.id,
            **more,
        )
        return True

    def _made_from(self, case: Case, filled: Sequence[str]) -> dict[str, Any]:
        pseudo, _ = pseudo_label_paths(self.pseudo, case.id)
        data: dict[str, Any] = {
            "truth": None if case.label is None else self.hash_of(case.label),
            "pseudo": self.hash_of(pseudo) if filled else None,
            "annotated": sorted(case.annotated),
            "filled": sorted(filled),
            "values": self.values,
            "taxonomy": self.taxonomy.to_dict(),
        }
        if filled and self.settings.ignore_below:
            data["ignore_below"] = self.settings.ignore_below
        if filled and self.settings.min_lesion_agreement:
            data["min_lesion_agreement"] = self.settings.min_lesion_agreement
        if filled and has_uncertainty(self.pseudo, case.id):
            maps = (probability_path(self.pseudo, case.id), runner_up_path(self.pseudo, case.id))
            data["uncertainty"] = [self.hash_of(path) for path in maps]
        return data

    def _read_sources(self, case: Case, filled: Sequence[str]) -> _Sources:
        truth = None if case.label is None else nifti.read_labels(case.label)
        path, _ = pseudo_label_paths(self.pseudo, case.id)
        pseudo = nifti.read_labels(path) if filled else None
        grid = nifti.read_grid(case.image)
        given = [("label", truth), ("pseudo-label", pseudo)]
        volumes = [(what, volume) for what, volume in given if volume is not None]
        for what, volume in volumes:
            grid.require(volume.grid, what=f"the {what}", advice="index and label the case again")
        for what, volume in volumes:
            check_ids(ids_in(volume.array) - {IGNORE}, self.taxonomy, what=what)
        return _Sources(grid, truth, pseudo)

    def _fuse(self, case: Case, sources: _Sources, filled: Sequence[str]) -> LabelArray:
        """Fuse truth and pseudo-label; ids of the label table, (z, y, x).

        Classes that are not learned are removed first: a lesion that this student is not taught
        must not cut a hole into an organ.
        """
        learned, filled_ids = self._only(self.classes), self._only(filled)
        return fuse(
            None if sources.truth is None else learned[sources.truth.array],
            None if sources.pseudo is None else filled_ids[sources.pseudo.array],
            annotated=self._ids(case.annotated),
            taxonomy=self.taxonomy,
        )

    def _fuse_uncertainty(
        self,
        case: Case,
        labels: LabelArray,
        *,
        truth: Volume | None,
        pseudo: Volume,
        filled: Sequence[str],
    ) -> Uncertainty:
        maps = read_uncertainty(self.pseudo, case.id)
        for volume in maps:
            pseudo.grid.require(
                volume.grid,
                what="the probability map",
                of="its pseudo-label",
                advice="label the case again with --probability",
            )
        return fused_uncertainty(
            labels,
            None if truth is None else truth.array,
            pseudo.array,
            Uncertainty(*(volume.array for volume in maps)),
            annotated=self._ids(case.annotated),
            filled=self._ids(filled),
            taxonomy=self.taxonomy,
        )

    def _ignored(self, case: Case, labels: LabelArray, uncertainty: Uncertainty) -> MaskArray:
        """Return the mask of the voxels that are too uncertain to learn from, (z, y, x).

        An organ that a person drew is learned, whether or not there may be a lesion in it.
        """
        annotated = np.isin(labels, self._ids(case.annotated))
        return (uncertainty.probability < 255 * self.settings.ignore_below) & ~annotated

    def _unsure(
        self, case: Case, pseudo: LabelArray, labels: LabelArray, filled: Sequence[str]
    ) -> MaskArray:
        """Return the mask of the lesions on which the folds agree too little, (z, y, x)."""
        record = read_pseudo_label(self.pseudo, case.id)
        lesions = [] if record is None else [one for one in record.lesions if one.name in filled]
        least = self.settings.min_lesion_agreement
        unsure = unsure_lesions(pseudo, lesions, least=least, taxonomy=self.taxonomy)
        unsure &= labels == pseudo  # elsewhere the truth decided
        return unsure

    def _tables(self) -> tuple[LabelArray, LabelArray]:
        """Return tables from the table's ids to nnU-Net's values, and to the ids learned."""
        values, ids = np.zeros(256, np.uint8), self._only(self.classes)
        for name, value in self.values.items():
            values[self.taxonomy[name].id] = value
        values[IGNORE], ids[IGNORE] = len(self.values) + 1, IGNORE
        return values, ids

    def _only(self, names: Sequence[str]) -> LabelArray:
        """Return a table that keeps the ids of these classes; the others become background."""
        table = np.zeros(256, np.uint8)
        for id in self._ids(names):
            table[id] = id
        return table

    def _ids(self, names: Iterable[str]) -> list[int]:
        return [self.taxonomy[name].id for name in names]

    def write_dataset(
        self, cohort: Cohort, decisions: Sequence[Decision], *, ignored: Mapping[str, float]
    ) -> None:
        """Write ``cohort.json`` and nnU-Net's ``dataset.json``.

        Args:
            cohort: The cohort that the cases are from.
            decisions: What becomes of each training case.
            ignored: For each case kept, the share of its voxels that are ignored.
        """
        kept = [decision for decision in decisions if decision.kept]
        known: dict[tuple[str, ...], frozenset[str]] = {}  # cases share the few sets that there are
        cases = tuple(
            Case(
                case.id,
                case.image,
                self._label_path(case.id, ignored=ignored.get(case.id, 0.0)),
                annotated=known.setdefault(
                    decision.open, frozenset(self.classes).difference(decision.open)
                ),
                declared=True,
                checked=case.checked,
            )
            for decision in kept
            for case in (cohort[decision.case],)
        )
        dropped = tuple(Failure(item.case, item.why) for item in decisions if not item.kept)
        write_cohort(self.out, Cohort(self.taxonomy, cases, dropped))
        del cases
        write_lines(self.out / DATASET / "dataset.json", _dataset(self, cohort, kept, ignored))


def _dataset(
    fused: FusedSet, cohort: Cohort, kept: Sequence[Decision], ignored: Mapping[str, float]
) -> Iterator[str]:
    """Yield dataset.json, a line for each case, so that none of it is held as a whole."""
    complete = [decision.case for decision in kept if not decision.open]
    has_ignored = any(ignored.get(id) for id in complete)
    ignore = {"ignore": len(fused.values) + 1} if has_ignored else {}
    head = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **fused.values, **ignore},
        "numTraining": len(complete),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "nnstudent": {
            "taxonomy": fused.taxonomy.to_dict(),
            "classes": {str(value): name for name, value in fused.values.items()},
            "truth": [item.case for item in kept if not (item.filled or item.open)],
            "settings": asdict(fused.settings),
        },
    }
    yield f'{json.dumps(head, ensure_ascii=False)[:-1]}, "dataset": {{'
    for place, id in enumerate(complete, 1):
        row = {
            "images": [os.path.abspath(cohort[id].image)],
            "label": f"labelsTr/{id}.nii.gz",
        }
        end = "," if place < len(complete) else ""
        yield f"{json.dumps(id)}: {json.dumps(row, ensure_ascii=False)}{end}"
    yield "}}"
