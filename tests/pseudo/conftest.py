"""Small cohorts on disk, with label maps drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.cohort.uncertainty import Uncertainty, write_uncertainty
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.io.record import write_record
from nnstudent.pseudo.pseudo_label import PseudoLabel, pseudo_label_paths
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Grid, Volume

ALL = ("liver", "kidney", "tumor")
GOOD = {"liver": 0.9, "kidney": 0.7, "tumor": 0.1}  # agreement of the folds
SHAPE = (6, 8, 10)
GRID = Grid(SHAPE, np.diag([2.0, 1.5, 3.0, 1.0]))


TOY = Taxonomy(
    "toy",
    (LabelClass(1, "liver"), LabelClass(2, "kidney"), LabelClass(3, "tumor", kind="lesion")),
)


@pytest.fixture
def toy() -> Taxonomy:
    return TOY


class Maker:
    """Writes cases and pseudo-labels into one folder."""

    def __init__(self, folder: Path, taxonomy: Taxonomy) -> None:
        self.folder, self.taxonomy = folder, taxonomy
        self.pseudo = folder / "pseudo"
        self.rng = np.random.default_rng(3)

    def labels(self) -> np.ndarray:
        return self.rng.choice(np.array([0, *self.taxonomy.ids], np.uint8), SHAPE)

    def case(
        self, id: str, annotated: Iterable[str] = (), *, role: str = "train", grid: Grid = GRID
    ) -> Case:
        image = self.folder / "images" / f"{id}.nii.gz"
        write_image(image, Volume(self.rng.integers(-200, 200, SHAPE).astype(np.int16), GRID))
        annotated = frozenset(annotated)
        label = None
        if annotated:
            label = self.folder / "truth" / f"{id}.nii.gz"
            values = self.labels()
            values[~np.isin(values, [self.taxonomy[name].id for name in annotated])] = 0
            write_labels(label, Volume(values, grid))
        return Case(id, image, label, annotated, declared=True, role=role)

    def pseudo_label(
        self,
        id: str,
        agreement: dict[str, float],
        *,
        classes: Iterable[str] | None = None,
        folds: int = 3,
        made: str = "m1",
        uncertainty: bool = False,
        confidence: dict[str, float] | None = None,
    ) -> None:
        image, record = pseudo_label_paths(self.pseudo, id)
        values = self.labels()
        write_labels(image, Volume(values, GRID))
        found = [item.name for item in self.taxonomy if (values == item.id).any()]
        known = tuple(self.taxonomy.names if classes is None else classes)
        count = dict.fromkeys(known, folds) if folds else {}
        item = PseudoLabel(
            id,
            "",
            known,
            dict.fromkeys(known, made),
            1,
            dict.fromkeys(found, 0.9) | (confidence or {}),
            agreement,
            tuple(found),
            count,
        )
        write_record(record, stage="label", made_from=[id, made], **item.to_dict())
        if uncertainty:
            maps = Uncertainty(self.rng.integers(0, 256, SHAPE).astype(np.uint8), self.labels())
            write_uncertainty(
                self.pseudo, id, maps, GRID, like=self.folder / "images" / f"{id}.nii.gz"
            )

    def cohort(self, *cases: Case) -> Cohort:
        return Cohort(self.taxonomy, cases)


@pytest.fixture
def maker(tmp_path: Path, toy: Taxonomy) -> Maker:
    return Maker(tmp_path, toy)


@pytest.fixture
def cohort(maker: Maker) -> Cohort:
    cases = (
        maker.case("full", ALL),
        maker.case("organs", ("liver", "kidney")),
        maker.case("partial", ("liver",)),
        maker.case("none"),
        maker.case("doubtful", ("kidney",)),
        maker.case("unlabeled"),
        maker.case("held_out", ALL, role="test"),
    )
    maker.pseudo_label("organs", GOOD)
    maker.pseudo_label("partial", GOOD)
    maker.pseudo_label("none", GOOD)
    maker.pseudo_label("doubtful", {"liver": 0.3, "kidney": 0.9})
    return maker.cohort(*cases)
