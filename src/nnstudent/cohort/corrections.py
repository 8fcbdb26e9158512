"""Corrected scans as a cohort: the truth of the classes that a person confirmed, and nothing else.

The folder is a cohort like any other: ``cohort.json``, ``labels/`` and ``ledger.jsonl``, whose
rows say who confirmed which class and when. Every submission is also kept as it came, in
``submissions/``, so that nobody's work is lost when somebody else corrects the same scan.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, Role, read_cohort, write_cohort
from nnstudent.cohort.fuse import check_ids, ids_in
from nnstudent.cohort.ledger import LEDGER_NAME, LedgerRow, read_ledger, write_ledger
from nnstudent.errors import InputError
from nnstudent.io.atomic import make_folder, replacing
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume
from nnstudent.words import class_title, count

CONFIRMED = "confirmed"  # the reason in the ledger
ABSENT = "confirmed that it is not there"
_HELD_OUT = 4  # one scan of so many is held out, the second first: a student is tested on them


@dataclass(frozen=True)
class Submission:
    """A person's statement about a scan.

    Attributes:
        case: The case's id.
        image: Its CT; copied if ``copy`` is set, because it would not last.
        labels: A label map with the ids of the table, on the image's grid.
        confirmed: The classes that were looked for, whether or not they are there.
        by: Who says so.
        at: When, in ISO 8601.
        copy: Whether the cohort keeps a copy of the image.
    """

    case: str
    image: Path
    labels: Volume
    confirmed: tuple[str, ...]
    by: str
    at: str
    copy: bool = False


class Corrections:
    """A growing cohort of corrected scans. Every method may be called from any thread."""

    def __init__(self, folder: Path, taxonomy: Taxonomy) -> None:
        """Use a folder, which is created with the first correction.

        Raises:
            InputError: The folder holds something else, or a cohort with another label table.
        """
        self.folder = folder
        self._taxonomy = taxonomy
        self._lock = threading.RLock()
        if self.cohort().taxonomy != taxonomy:
            raise InputError(
                f"{folder}: corrected with the label table {self.cohort().taxonomy.name}, not "
                f"{taxonomy.name}; choose another folder, or the model that was used before"
            )

    def cohort(self) -> Cohort:
        """Return the corrected scans; none at first."""
        with self._lock:
            if not (self.folder / "cohort.json").is_file():
                return Cohort(self._taxonomy, ())
            return read_cohort(self.folder, made_by="serve --datastore FOLDER")

    def rows(self, case: str | None = None) -> tuple[LedgerRow, ...]:
        """Return who confirmed what, of one case or of all, oldest first."""
        with self._lock:
            path = self.folder / LEDGER_NAME
            rows = read_ledger(path) if path.is_file() else ()
            return tuple(row for row in rows if case is None or row.case == case)

    def label(self, case: str) -> Path | None:
        """Return the label map of a corrected scan; None if it was not corrected."""
        return next((found.label for found in self.cohort() if found.id == case), None)

    def keep(self, case: str, source: Path, *, by: str, at: str) -> Path:
        """Keep a submitted file as it came.

        Returns:
            Where it is.

        Raises:
            OutputError: It cannot be written.
        """
        stamp = "".join(character for character in at if character.isalnum())
        sender = "".join(character for character in by if character.isalnum())[:40] or "somebody"
        folder = self.folder / "submissions" / case
        make_folder(folder)
        with self._lock:
            number = 1 + len(list(folder.iterdir()))
            path = folder / f"{number:04d}-{stamp}-{sender}.nii.gz"
            with replacing(path) as temporary:
                shutil.copyfile(source, temporary)
        return path

    def add(self, submission: Submission) -> tuple[str, ...]:
        """Take over the confirmed classes of a submission as truth.

        Classes that were confirmed before and are not confirmed now stay as they are, but give way
        where a class that is confirmed now lies.

        Returns:
            What somebody should know, one line each.

        Raises:
            InputError: No class was confirmed, or a class or id is not in the table.
            GeometryError: The labels are on another grid than the image.
            OutputError: The folder cannot be written.
        """
        given, table = submission, self._taxonomy
        if not given.confirmed:
            raise InputError(f"{given.case}: no class is confirmed; confirm at least one")
        confirmed = table.sorted(given.confirmed)
        check_ids(ids_in(given.labels.array), table, what=f"{given.case}: the label")
        read_grid(given.image).require(
            given.labels.grid,
            what=f"{given.case}: the label",
            advice="correct the label map of this scan, on its own grid",
        )
        with self._lock, writing(self.folder):
            cohort = self.cohort()
            old = next((case for case in cohort if case.id == given.case), None)
            before = None if old is None or old.label is None else read_labels(old.label).array
            array, notes = _merged(
                before, given.labels.array, ids=[table[name].id for name in confirmed], table=table
            )
            notes += self._replaced(given, confirmed)
            case = self._case(given, old, confirmed, len(cohort))
            if case.label is None:  # never; a correction has a label map
                raise InputError(f"{given.case}: no label map; send one")
            if given.copy and not case.image.is_file():
                make_folder(case.image.parent)
                with replacing(case.image) as temporary:
                    shutil.copyfile(given.image, temporary)
            make_folder(case.label.parent)
            write_labels(case.label, Volume(array, given.labels.grid))
            self._record(given, confirmed, ids_in(array))
            others = [other for other in cohort.cases if other.id != case.id]
            cases = tuple(sorted([*others, case], key=lambda case: case.id))
            write_cohort(self.folder, replace(cohort, cases=cases))
        return tuple(notes)

    def _case(
        self, given: Submission, old: Case | None, confirmed: Collection[str], number: int
    ) -> Case:
        annotated = frozenset(confirmed) | (old.annotated if old else frozenset())
        role: Role = "test" if number % _HELD_OUT == 1 else "train"
        image = self.folder / "images" / f"{given.case}.nii.gz" if given.copy else given.image
        return Case(
            id=given.case,
            image=image if old is None else old.image,
            label=self.folder / "labels" / f"{given.case}.nii.gz",
            annotated=annotated,
            declared=True,
            role=role if old is None else old.role,
        )

    def _replaced(self, given: Submission, confirmed: Collection[str]) -> list[str]:
        """Say whose classes a submission replaces."""
        others = {
            row.by: row
            for row in self.rows(given.case)
            if row.cls in confirmed and row.by not in (None, given.by)
        }
        return [
            f"{given.case}: replaces what {row.by} confirmed at {row.at}, which is kept in "
            f"submissions/{given.case}"
            for row in others.values()
        ]

    def _record(self, given: Submission, confirmed: Collection[str], present: set[int]) -> None:
        kept = [row for row in self.rows() if row.case != given.case or row.cls not in confirmed]
        fresh = [
            LedgerRow(
                case=given.case,
                cls=name,
                origin="truth",
                why=CONFIRMED if self._taxonomy[name].id in present else ABSENT,
                by=given.by,
                at=given.at,
            )
            for name in confirmed
        ]
        write_ledger(self.folder / LEDGER_NAME, [*kept, *fresh])


def _merged(
    before: LabelArray | None, given: LabelArray, *, ids: list[int], table: Taxonomy
) -> tuple[LabelArray, list[str]]:
    """Lay the confirmed classes of a submission over what was confirmed before."""
    now = np.isin(given, ids)
    if before is None:
        return np.where(now, given, 0).astype(np.uint8), []
    kept = np.where(np.isin(before, ids), 0, before)
    lost = np.bincount(kept[now], minlength=256)
    lost[0] = 0
    notes = [
        f"{count(int(lost[id]), 'voxel')} of the {class_title(table.by_id(int(id)).name)} that was "
        "confirmed before now belong to another class"
        for id in np.flatnonzero(lost)
    ]
    merged: LabelArray = np.where(now, given, kept).astype(np.uint8)
    return merged, notes
