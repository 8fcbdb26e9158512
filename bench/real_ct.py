"""What unlabeled scans add on real CT, as few as there are here.

  NNSTUDENT_DATA=... python -m bench.real_ct --steps 2000

Three public CT have labels of organs, by other models; the others in NNSTUDENT_DATA are learned
from without their labels. Two have labels by two models, and each of them is tested on in turn,
while nothing learns from it. Only voxels on which these two models agree are scored, organ by
organ. The networks are those of the protocol (bench/protocol.toml): the small one learns for the
same number of steps from the labeled scans, or from these and from pseudo-labels of all others.

It says whether the gain on synthetic patients has its like on real scans, not how well a model
works: there are two test scans, and no label is an expert's.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench import protocol
from bench.common import ROOT, add_row, add_row_options, commit, machine, read_rows, resumable
from bench.semisupervised_arms import ALL
from nnstudent.cohort.check import read_case_image
from nnstudent.cohort.cohort import Case, Cohort, Role
from nnstudent.cohort.index import index
from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.io.nifti import read_labels
from nnstudent.progress import Progress
from nnstudent.pseudo.label import label
from nnstudent.pseudo.select import select
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.pseudo.teacher import open_teachers
from nnstudent.taxonomy import Taxonomy, flare23
from nnstudent.training.recipe import Recipe, Teaching
from nnstudent.training.study import study
from nnstudent.training.teach import teach
from nnstudent.types import LabelArray

ROWS, WORK = ROOT / "docs" / "results" / "real-ct.json", ROOT / "runs" / "real_ct"
# Which of the organs nobody looked for in a labeled scan.
LABELED: dict[str, tuple[str, ...]] = {
    "ts_example": ("esophagus",),
    "ts_dicom20": (),
    "cptac_C3L-00189": (),
}
TESTED = ("crlm_1004", "crlm_1006")
# Those that the second model knows too.
COMPARED = (
    "liver", "spleen", "pancreas", "gallbladder", "esophagus", "stomach", "duodenum", "left_kidney",
)  # fmt: skip
ARMS = ("labeled", "labeled+unlabeled")
FOLDS = 3
LEAST_ML = 10.0  # of an organ in the test scan; a fragment says little


@dataclass(frozen=True)
class Try:
    """One test scan, and what is made to segment it.

    Attributes:
        data: The folder of the public CT.
        tested: The test scan.
        work: Folder of all that is made.
        steps: Training steps of the small network, and of each teacher.
        threads: CPU threads.
        progress: Called as a piece advances.
    """

    data: Path
    tested: str
    work: Path
    steps: int
    threads: int | None
    progress: Progress

    @cached_property
    def cohort(self) -> Cohort:
        """The scans, checked, and what is a DICOM series converted."""
        path = self.work / "scans.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "image", "label", "annotated", "role"])
            for case in self.listed:
                label = case.label or ""
                rows.writerow([case.id, case.image, label, " ".join(case.annotated), case.role])
        return index(path, self.work / "cohort", progress=self.progress).cohort

    @property
    def listed(self) -> Cohort:
        """The scans: labeled, unlabeled, and the one to test on."""
        names = sorted(path.name for path in self.data.iterdir() if path.is_dir())
        missing = [name for name in (*LABELED, *TESTED) if name not in names]
        if missing:
            raise InputError(
                f"{self.data}: lacks {', '.join(missing)}; set NNSTUDENT_DATA to the public CT"
            )
        return Cohort(flare23(), tuple(self._case(name) for name in names))

    def _case(self, name: str) -> Case:
        folder, table = self.data / name, flare23()
        image = folder / "series" if (folder / "series").is_dir() else folder / "ct.nii.gz"
        role: Role = "test" if name == self.tested else "train"
        if name not in LABELED:
            return Case(name, image, role=role)
        annotated = frozenset(table.organs) - set(LABELED[name])
        return Case(name, image, folder / "label.nii.gz", annotated, True, role)

    def recipe(self, recipe: Recipe) -> Recipe:
        """A recipe for this number of steps, which learns from partly labeled scans too."""
        training = recipe.training
        epochs = max(1, self.steps // training.iterations)
        return replace(recipe, training=replace(training, epochs=epochs, partial="marginal"))

    def model(self, arm: str) -> Path:
        """The small network of an arm."""
        preset = protocol.networks()
        if arm == "labeled":
            return self._taught("small", preset.student, folds=1)
        pseudo, fused = self.work / "pseudo", self.work / "fused"
        cohort, organs = self.cohort, self.cohort.taxonomy.organs
        done = label(
            cohort,
            pseudo,
            teachers=[self._taught("large", preset.teachers, folds=FOLDS)],
            options=TeacherOptions(decision=preset.decision, threads=self.threads),
            progress=self.progress,
        )
        chosen = select(
            cohort,
            pseudo,
            fused,
            settings=ALL,
            classes=organs,
            progress=self.progress,
        )
        if done.failures or chosen.failures:
            raise InputError(f"{[*done.failures, *chosen.failures][0]}; call again")
        return study(
            fused,
            self.work / "student",
            self.recipe(preset.student),
            organs_only=True,
            threads=self.threads,
            progress=self.progress,
        )

    def _taught(self, name: str, recipe: Recipe, *, folds: int) -> Path:
        return teach(
            self.cohort,
            self.work / name,
            Teaching(self.recipe(recipe), folds=folds),
            target="organs",
            threads=self.threads,
            progress=self.progress,
        ).models[0]

    def row(self, arm: str) -> dict[str, Any]:
        """What identifies a row."""
        return {"arm": arm, "tested": self.tested, "steps": self.steps}

    def scored(self, arm: str) -> dict[str, Any]:
        """The row of an arm: the network trained, the test scan segmented and scored."""
        table = self.cohort.taxonomy
        (teacher,) = open_teachers(
            [self.model(arm)],
            table,
            options=TeacherOptions(decision="argmax", threads=self.threads),
        )
        (case,) = self.cohort.test()
        image = read_case_image(case)
        predicted = teacher.predict(image).labels
        first, second = (
            read_labels(self.data / self.tested / f"{name}.nii.gz").array
            for name in ("label", "second_opinion")
        )
        ml = float(np.prod(image.grid.spacing_mm)) / 1000
        organs = agreed_scores(predicted, first, second, table, voxel_ml=ml)
        mean = round(float(np.mean(list(organs.values()))), 5)
        return {
            **self.row(arm),
            "organ_dsc": mean,
            "organs": organs,
            "commit": commit(),
            "machine": machine(),
        }


def agreed_scores(
    predicted: LabelArray,
    first: LabelArray,
    second: LabelArray,
    taxonomy: Taxonomy,
    *,
    voxel_ml: float,
) -> dict[str, float]:
    """DSC of each organ over the voxels on which two models agree about it.

    An organ that is cut by the first or last slice, or of which they agree on too little, is left
    out.

    Args:
        predicted: Labels to be scored, (z, y, x).
        first: Labels of one model, likewise.
        second: Labels of the other.
        taxonomy: The label table.
        voxel_ml: Volume of a voxel.
    """
    scores = {}
    for name in COMPARED:
        id = taxonomy[name].id
        agree = (first == id) == (second == id)
        truth = agree & (first == id)
        if truth[[0, -1]].any() or truth.sum() * voxel_ml < LEAST_ML:
            continue
        scores[name] = round(dsc(agree & (predicted == id), truth), 5)
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="of every training")
    parser.add_argument(
        "--tested", nargs="+", choices=TESTED, default=TESTED, help="test scans (default: both)"
    )
    add_row_options(parser, rows=ROWS, work=WORK)
    args = parser.parse_args()
    if not os.environ.get("NNSTUDENT_DATA"):
        parser.error("NNSTUDENT_DATA is not set; expected the folder of the public CT")

    def make_rows(progress: Progress) -> None:
        data = Path(os.environ["NNSTUDENT_DATA"]).resolve()
        for tested in args.tested:
            work = args.work / f"{tested}-{args.steps}"
            one = Try(data, tested, work, args.steps, args.threads, progress)
            for arm in ARMS:
                mark = one.row(arm).items()
                if not any(mark <= row.items() for row in map(_plain, read_rows(args.json))):
                    add_row(args.json, one.scored(arm))

    code = resumable("real_ct", args.work, make_rows, minutes=args.max_minutes)
    for row in read_rows(args.json):
        print(f"{row['tested']}, {row['arm']}, {row['steps']:,} steps: {row['organs']}")
        print(f"  mean organ DSC {100 * row['organ_dsc']:.1f}")
    return code


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("arm", "tested", "steps")}


if __name__ == "__main__":
    sys.exit(main())
