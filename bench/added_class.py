"""A class added to the bundled student from ten scans, beside a student that starts from nothing.

  python -m bench.added_class --steps 400

The class is the bones, which the bundled student does not know: synthetic patients have them, and
here their labels too. Both students have the bundled student's network and grid, learn the same ten
scans for as many steps, and are scored on six others. Each finished student is a row of
docs/results/added-class.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import ROOT, commit, machine
from nnstudent.bundle.bundle import open_model
from nnstudent.cli.common import Display
from nnstudent.cohort.cohort import Case, Cohort, Role, read_cohort, write_cohort
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_image, read_labels, write_image, write_labels
from nnstudent.phantom.acquisition import draw_scan, find_scan_preset, to_stored_axes
from nnstudent.phantom.anatomy import anatomy_layers
from nnstudent.phantom.grid import make_space, table_layers
from nnstudent.phantom.patient import draw_patient
from nnstudent.phantom.render import render
from nnstudent.phantom.tissues import draw_tissues
from nnstudent.pipeline.preset import load_preset
from nnstudent.progress import Progress
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from nnstudent.training.recipe import Recipe
from nnstudent.training.study import study
from nnstudent.volume import Volume

ROWS = ROOT / "docs" / "results" / "added-class.json"
PRESET = ROOT / "examples" / "bundled-student" / "preset.toml"
BONE, BONES = 15, ("bones", "marrow", "ribs", "rib marrow")
TRAIN, TEST = 10, 6


def table() -> Taxonomy:
    """FLARE23's label table with the bones."""
    bone = LabelClass(BONE, "bone", kind="organ", color=(240, 220, 180))
    return Taxonomy("flare23_bone", (*flare23().classes, bone))


def make_scan(seed: int, preset: str) -> tuple[Volume, Volume]:
    """A synthetic scan without tumors, and its labels with the bones."""
    rng = np.random.default_rng([seed, 77])
    patient = draw_patient(rng, tumor=False)
    scan = draw_scan(rng, find_scan_preset(preset), patient, slices=None)
    space, nodes = make_space(scan, patient)
    layers = [
        replace(layer, label=BONE) if layer.name in BONES else layer
        for layer in anatomy_layers(space, patient)
    ]
    skin = next(layer.field for layer in layers if layer.name == "skin")
    tissues = draw_tissues(patient)
    drawn = render(
        scan, nodes, space, [*table_layers(space, skin), *layers], tissues=tissues, seed=seed
    )
    return to_stored_axes(drawn.image, scan), to_stored_axes(drawn.organs, scan)


def make_cohort(folder: Path, *, phantoms: str, progress: Progress) -> Cohort:
    """Ten scans to learn from and six to be scored on, all classes annotated; made once."""
    if (folder / "cohort.json").is_file():
        return read_cohort(folder)
    cases, everything = [], frozenset(table().names)
    for number in range(TRAIN + TEST):
        image, labels = make_scan(number, phantoms)
        name = f"phantom_{number + 1:03d}"
        scan, label = (folder / kind / f"{name}.nii.gz" for kind in ("images", "labels"))
        write_image(scan, image)
        write_labels(label, labels)
        role: Role = "train" if number < TRAIN else "test"
        cases.append(Case(name, scan, label, everything, declared=True, role=role))
        progress("phantoms", number + 1, TRAIN + TEST)
    cohort = Cohort(table(), tuple(cases))
    write_cohort(folder, cohort)
    return cohort


def recipe(steps: int) -> Recipe:
    """The bundled student's recipe with smaller windows and this many steps."""
    given = load_preset(PRESET).student
    training = replace(given.training, epochs=max(1, steps // 50), iterations=50, held_out=0.1)
    return replace(given, data=replace(given.data, patch=(32, 64, 96)), training=training)


def scores(model: Path | None, cohort: Cohort) -> dict[str, float]:
    """Mean DSC of each class over the test scans; 1 where both are empty is left out."""
    segmenter = Segmenter(model, postprocess=())
    found: dict[str, list[float]] = {}
    for case in cohort.test():
        truth = read_labels(case.label or Path())
        labels = segmenter(read_image(case.image)).labels.reoriented(truth.grid.axcodes)
        for item in cohort.taxonomy.classes:
            if item.kind == "organ" and (truth.array == item.id).any():
                has = item.name in segmenter.model.classes
                own = labels.array == (segmenter.taxonomy[item.name].id if has else -1)
                found.setdefault(item.name, []).append(dsc(own, truth.array == item.id))
    return {name: round(statistics.fmean(values), 4) for name, values in found.items()}


def row(name: str, found: dict[str, float], *, steps: int) -> dict[str, Any]:
    """A row of the results."""
    organs = [value for key, value in found.items() if key != "bone"]
    return {
        "student": name,
        "steps": steps,
        "bone": found.get("bone", 0.0),
        "organs": round(statistics.fmean(organs), 4),
        "classes": found,
    }


def main(words: list[str] | None = None) -> int:
    """Train both students, score them and the bundled one, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400, help="training steps of each student")
    parser.add_argument("--phantoms", default="tiny", help="preset of the phantoms")
    parser.add_argument("--work", type=Path, default=Path("runs/added_class"))
    parser.add_argument("--out", type=Path, default=ROWS)
    args = parser.parse_args(words)
    with Display() as display:
        cohort = make_cohort(args.work / "cohort", phantoms=args.phantoms, progress=display)
        rows = [row("bundled, as it is", scores(None, cohort), steps=0)]
        for name, start in (("starts from bundled", open_model()), ("starts from nothing", None)):
            out = args.work / name.replace(" ", "_")
            study(
                args.work / "cohort",
                out,
                recipe(args.steps),
                start=start,
                device="cpu",
                progress=display,
            )
            rows.append(row(name, scores(out, cohort), steps=args.steps))
            about = {"machine": machine(), "commit": commit(), "phantoms": args.phantoms}
            write_json(args.out, {**about, "scans": [TRAIN, TEST], "rows": rows})
    for item in rows:
        print(f"{item['student']:<22} bone {item['bone']:.3f}  organs {item['organs']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
