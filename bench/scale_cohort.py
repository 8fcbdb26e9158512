"""Large cohorts of tiny files for `bench.scale`: a source, a teacher, what a report shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.pseudo_label import Prediction, PseudoLabel
from nnstudent.taxonomy import Taxonomy, flare23
from nnstudent.volume import Grid, Volume

SHAPE = (4, 24, 24)
GRID = Grid(SHAPE, np.diag([-0.8, -0.8, 2.5, 1.0]))
VARIANTS = 16  # different images and label maps; every other file has the content of one of them
FOLDERS = (
    *("imagesTr2200", "labelsTr2200", "unlabelTr1800"),
    *("validation/images", "validation/labels"),
)
MOST_TESTED = 3000
# Share of the cases by folder, as in FLARE23: 2,200 partly labeled, 1,800 without labels.
LABELED = 0.55
BROKEN_EVERY = 100


def make_source(folder: Path, cases: int) -> None:
    """Write a folder as FLARE23 is released, unless it is there.

    A tenth of the labeled cases have all organs, the others a few and a tumor. 2 % are for
    validation, at most 3,000, and one file in a hundred is empty.
    """
    done = folder / "complete"
    if done.is_file():
        return
    images, full, partial = _templates(folder.parent / "templates")
    folders = {name: folder / name for name in FOLDERS}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    tested = min(cases // 50, MOST_TESTED)
    for number in range(cases):
        name, variant = f"FLARE23_{number:06d}.nii.gz", number % VARIANTS
        image = b"" if number % BROKEN_EVERY == BROKEN_EVERY - 1 else images[variant]
        if number < tested:
            kind, label = "validation/images", full[variant]
            (folders["validation/labels"] / name).write_bytes(label)
        elif number < LABELED * cases:
            kind, label = "imagesTr2200", full[variant] if number % 10 == 0 else partial[variant]
            (folders["labelsTr2200"] / name).write_bytes(label)
        else:
            kind = "unlabelTr1800"
        (folders[kind] / name).write_bytes(image)
    done.write_text("")


def _templates(folder: Path) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Bytes of images, of label maps with all organs, and of such with few and a tumor."""
    chance, table = np.random.default_rng(0), flare23()
    found: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    organs = [table[name].id for name in table.organs]
    lesion = table[table.lesions[0]].id
    for number in range(VARIANTS):
        image = chance.integers(-1000, 400, SHAPE).astype(np.int16)
        few = [organs[(number + k) % len(organs)] for k in range(3)]
        path = folder / f"{number}.nii.gz"
        write_image(path, Volume(image, GRID))
        found[0].append(path.read_bytes())
        for place, ids in ((1, organs), (2, [*few, lesion])):
            write_labels(path, Volume(_labels(ids), GRID))
            found[place].append(path.read_bytes())
    return found


def _labels(ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    labels = np.zeros(SHAPE, np.uint8)
    for row, id in enumerate(ids):
        labels[:, row] = id
    return labels


@dataclass(frozen=True)
class NullTeacher:
    """Five folds that know every class and answer at once."""

    taxonomy: Taxonomy

    @property
    def hash(self) -> str:
        return "0123456789abcdef"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.taxonomy.names

    @property
    def settings(self) -> Any:
        return [[0, *(item.id for item in self.taxonomy)]]

    def predict(
        self, image: Volume, *, uncertainty: bool = False, progress: Progress = silent
    ) -> Prediction:
        """The same labels for every image, with figures that differ from image to image."""
        chance = np.random.default_rng(int(image.array[0, 0, 0]) + 2000)
        agreement, confidence = (
            dict(zip(self.classes, chance.uniform(0.7, 1, len(self.classes)).tolist(), strict=True))
            for _ in range(2)
        )
        return Prediction(_labels(list(self.taxonomy.ids)), confidence, agreement, 5)


def make_records(cohort_folder: Path, pseudo: Path, cases: int) -> None:
    """Write a cohort and the records of pseudo-labels, without images or label maps."""
    done = pseudo / "complete"
    if done.is_file():
        return
    pseudo.mkdir(parents=True, exist_ok=True)
    table, chance = flare23(), np.random.default_rng(2)
    tested, members = min(cases // 50, MOST_TESTED), []
    for number in range(cases):
        id = f"FLARE23_{number:06d}"
        kind = "unlabelTr1800" if number >= LABELED * cases else "imagesTr2200"
        few = [table.organs[(number + k) % len(table.organs)] for k in range(3)]
        full = number < tested or number % 10 == 0
        annotated = frozenset(table.organs if full else (*few, *table.lesions))
        label = Path(f"/scans/FLARE23/labelsTr2200/{id}.nii.gz") if kind[0] == "i" else None
        members.append(
            Case(
                id,
                Path(f"/scans/FLARE23/{kind}/{id}.nii.gz"),
                label,
                frozenset() if label is None else annotated,
                role="test" if number < tested else "train",
            )
        )
        if number >= tested:
            values = [
                dict(zip(table.names, row.round(4).tolist(), strict=True))
                for row in chance.uniform(0.7, 1, (3, len(table)))
            ]
            record = PseudoLabel(
                id,
                "",
                table.names,
                dict.fromkeys(table.names, "0123456789abcdef"),
                1,
                values[0],
                values[1],
                table.names,
                dict.fromkeys(table.names, 5),
                60.0,
                values[2],
            )
            _write(pseudo / f"{id}.json", {"made_from": "0", **record.to_dict()})
            (pseudo / f"{id}.nii.gz").touch()
    write_cohort(cohort_folder, Cohort(table, tuple(members)))
    done.touch()


def make_run(folder: Path, cohort: Cohort) -> int:
    """Add to a folder with ``cohort/`` and ``fused/`` what a report shows: stages, scores.

    Returns:
        How many cases were scored.
    """
    table, chance = cohort.taxonomy, np.random.default_rng(1)
    tested = list(islice((case.id for case in cohort.test()), MOST_TESTED))
    stages: list[dict[str, Any]] = [
        {"name": name, "state": "done", "seconds": 60.0, "peak_rss_mb": 500.0, "failures": []}
        for name in ("index", "teach", "label", "select", "study", "segment", "evaluate")
    ]
    stages[0]["failures"] = [
        {"case": failure.case, "reason": failure.reason} for failure in cohort.broken
    ]
    _write(folder / "run.json", {"schema": 1, "preset": "paper", "rounds": 1, "stages": stages})
    for method in ("teacher", "student"):
        values = chance.uniform(0.6, 1, (2, len(tested), len(table)))
        cases = [
            {
                "id": id,
                "dsc": dict(zip(table.names, values[0, row].round(4).tolist(), strict=True)),
                "nsd": dict(zip(table.names, values[1, row].round(4).tolist(), strict=True)),
            }
            for row, id in enumerate(tested)
        ]
        mean = {
            name: {"dsc": 0.8, "nsd": 0.8, "dsc_sd": 0.1, "nsd_sd": 0.1, "n": len(tested)}
            for name in ("organs", *table.names)
        }
        _write(folder / "scores" / f"{method}.json", {"cases": cases, "mean": mean})
    for id in tested:
        seconds = {"read": 0.1, "network": 2.0, "total": float(chance.uniform(2, 9))}
        _write(folder / "predictions" / "student" / f"{id}.json", {"seconds": seconds})
    return len(tested)


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
