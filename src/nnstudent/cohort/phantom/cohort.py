"""A cohort of phantoms on disk, with labels as partial as those of FLARE23."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, Role, write_cohort
from nnstudent.cohort.phantom.acquisition import draw_scan, find_preset, finish, make_space, render, table_layers
from nnstudent.cohort.phantom.anatomy import anatomy
from nnstudent.cohort.phantom.appearance import looks
from nnstudent.cohort.phantom.patient import draw_patient
from nnstudent.errors import InputError, OutputError
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

# What the sources of partial labels annotate, as in FLARE23: tumor with six organs, or one source's organs.
TUMOR_ORGANS = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney", "stomach")
SOURCES = (
    ("liver",),
    ("right_kidney", "left_kidney"),
    ("liver", "right_kidney", "spleen", "pancreas", "left_kidney"),
    ("spleen",),
    ("pancreas",),
)
KINDS = ("full", "tumor", "source", "unlabeled", "test")


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """One synthetic scan.

    Attributes:
        image: HU, int16.
        truth: All 14 classes, uint8, on the image's grid.
        facts: What was drawn: sex, phase, spacing, whether the whole abdomen is in view, lesions.
    """

    image: Volume
    truth: Volume
    facts: dict[str, Any]


def make_case(
    seed: int | np.random.SeedSequence, *, preset: str = "standard", tumor: bool | None = None, slices: int | None = None
) -> PhantomCase:
    """Make one synthetic abdominal CT; the same seed makes the same.

    Args:
        seed: Of everything that is drawn.
        preset: Name of the preset.
        tumor: Whether there must or must not be a lesion; None leaves it to chance.
        slices: How many slices; None follows from extent and thickness.

    Raises:
        InputError: There is no such preset.
    """
    settings = find_preset(preset)
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng, tumor=tumor)
    scan = draw_scan(rng, settings, patient, slices=slices)
    space, nodes = make_space(scan, patient)
    layers = anatomy(space, patient)
    body = next(layer.field for layer in layers if layer.name == "skin")
    image, truth = render(scan, nodes, space, [*table_layers(space, body), *layers], looks(patient), rng)
    facts = {
        "sex": patient.sex, "phase": patient.phase, "gallbladder": patient.gallbladder, "whole": scan.whole,
        "lesions": list(patient.lesions), "axcodes": scan.axcodes, "spacing_mm": list(scan.spacing_mm),
    }  # fmt: skip
    return PhantomCase(finish(image, scan), finish(truth, scan), facts)


def mixture(cases: int) -> dict[str, int]:
    """How many cases of each kind there are among so many, about as in FLARE23 but with a test set.

    At least two full ones and a test case from six cases on; all add up to ``cases``.
    """
    if cases < 6:
        order = ("full", "test", "tumor", "source", "unlabeled")
        return {kind: int(order.index(kind) < cases) for kind in KINDS}
    counts = {
        "full": max(2, round(0.2 * cases)),
        "test": max(1, round(0.15 * cases)),
        "tumor": max(1, round(0.2 * cases)),
        "source": max(1, round(0.15 * cases)),
    }
    counts["unlabeled"] = cases - sum(counts.values())
    return {kind: counts[kind] for kind in KINDS}


def make_cohort(
    out: Path, *, cases: int, seed: int, preset: str = "standard", counts: dict[str, int] | None = None, progress: Progress = silent
) -> Cohort:
    """Write a cohort folder of phantoms: ``images/``, ``labels/`` (annotated classes only), ``truth/``, ``cohort.json``.

    Args:
        out: The folder.
        cases: How many cases.
        seed: Case number k depends on the seed, its kind and k only.
        preset: What is scanned.
        counts: How many of each kind, overriding the mixture; adds up to ``cases``.
        progress: Told after every case.

    Raises:
        InputError: Fewer than one case, or no such preset.
        OutputError: ``out`` cannot be written.
    """
    if cases < 1:
        raise InputError(f"{cases} phantom cases; at least 1 is needed")
    find_preset(preset)
    kinds = counts or mixture(cases)
    order = [kind for kind in KINDS for _ in range(kinds.get(kind, 0))]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror}); choose a folder that you may write to") from error
    made = []
    for number, kind in enumerate(order):
        made.append(_write_case(out, number, kind, seed, preset))
        progress("phantoms", number + 1, len(order))
    cohort = Cohort(flare23(), tuple(made))
    write_cohort(out, cohort)
    return cohort


def _write_case(out: Path, number: int, kind: str, seed: int, preset: str) -> Case:
    rng = np.random.default_rng([seed, number, 7])
    name = f"phantom_{number:04d}"
    case = make_case(np.random.SeedSequence([seed, number]), preset=preset, tumor=True if kind == "tumor" else None)
    image, truth, label = out / "images" / f"{name}.nii.gz", out / "truth" / f"{name}.nii.gz", out / "labels" / f"{name}.nii.gz"
    write_image(image, case.image)
    write_labels(truth, case.truth)
    table = flare23()
    annotated = {
        "full": table.organs, "tumor": (*TUMOR_ORGANS, "tumor"), "source": SOURCES[int(rng.integers(len(SOURCES)))], "unlabeled": (), "test": table.names,
    }[kind]  # fmt: skip
    if annotated:
        shown = np.where(np.isin(case.truth.array, [table[c].id for c in annotated]), case.truth.array, 0).astype(np.uint8)
        write_labels(label, Volume(shown, case.truth.grid))
    role: Role = "test" if kind == "test" else "train"
    return Case(name, image, label if annotated else None, frozenset(annotated), declared=True, role=role)
