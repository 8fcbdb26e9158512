"""Making a cohort of phantoms on disk, with labels as partial as those of FLARE23."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from nnstudent.cohort.cohort import Case, Cohort, Role, write_cohort
from nnstudent.errors import InputError
from nnstudent.io.lock import writing
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.phantom.acquisition import find_scan_preset
from nnstudent.phantom.case import PhantomCase, make_case
from nnstudent.phantom.mark import DESCRIPTION
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

LabelProfile = Literal["full", "tumor", "partial", "unlabeled", "test"]
# Share of the cases that has all organs labeled, tumor and six organs, the organs of one source,
# nothing, and everything.
PROFILE_SHARES: dict[LabelProfile, float] = {
    "full": 0.2,
    "tumor": 0.2,
    "partial": 0.15,
    "unlabeled": 0.3,
    "test": 0.15,
}
_FIRST: tuple[LabelProfile, ...] = ("full", "tumor", "test", "full", "unlabeled", "partial")
_TUMOR_ORGANS = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney", "stomach")
_SOURCES = (
    ("liver", "right_kidney", "spleen", "pancreas", "left_kidney"),
    ("liver",),
    ("right_kidney", "left_kidney"),
    ("pancreas",),
    ("liver", "spleen", "gallbladder", "esophagus", "stomach"),
)


def label_profiles(
    cases: int, counts: Mapping[LabelProfile, int] | None = None
) -> list[LabelProfile]:
    """The label profile of each case.

    The order does not depend on ``cases``, so that a larger cohort begins with the smaller one. The
    first six cases include two fully annotated ones and one for testing.

    Args:
        cases: Number of cases.
        counts: Number of cases of some profiles; the other cases are divided among the other
            profiles.

    Raises:
        InputError: There is less than one case, a count is below 0, or the counts do not add up.
    """
    fixed: dict[LabelProfile, int] = dict(counts or {})
    if cases < 1:
        raise InputError(f"{cases} phantom cases; expected at least 1")
    if any(n < 0 for n in fixed.values()):
        given = ", ".join(f"{n} {kind}" for kind, n in fixed.items())
        raise InputError(f"phantoms: {given}; expected counts of at least 0")
    total = sum(fixed.values())
    if total > cases or (total < cases and set(fixed) == set(PROFILE_SHARES)):
        raise InputError(
            f"phantoms: the counts of the profiles add up to {total}, "
            f"but {cases} cases were asked for; make them agree"
        )
    order: list[LabelProfile] = [kind for kind, n in fixed.items() for _ in range(n)]
    free: dict[LabelProfile, float] = {
        kind: share for kind, share in PROFILE_SHARES.items() if kind not in fixed
    }
    shared = sum(free.values())
    rest: list[LabelProfile] = [kind for kind in _FIRST if not fixed][: cases - total]
    while len(order) + len(rest) < cases:
        so_far = Counter(rest)
        rest.append(
            max(free, key=lambda kind: free[kind] / shared * (len(rest) + 1) - so_far[kind])
        )
    return order + rest


def make_cohort(
    out: Path,
    *,
    cases: int,
    seed: int,
    preset: str = "standard",
    slices: int | None = None,
    counts: Mapping[LabelProfile, int] | None = None,
    progress: Progress = silent,
) -> Cohort:
    """Write a cohort folder of phantoms.

    It has ``images/``, ``labels/`` (annotated classes only), ``truth/`` and ``cohort.json``.

    Args:
        out: The cohort folder.
        cases: Number of cases.
        seed: Seed; the same seed gives the same bytes. Case k depends on the seed, k and its
            profile, not on the number of cases.
        preset: Name of the preset: ``tiny``, ``medium``, ``standard``, ``varied`` or
            ``full``.
        slices: Number of slices of each scan; None for the number that follows from length and
            thickness.
        counts: Number of cases per label profile (see :func:`label_profiles`).
        progress: Called after each case.

    Raises:
        InputError: There is less than one case, the preset does not exist, the seed is negative, or
            the counts do not add up.
        OutputError: ``out`` cannot be written.
    """
    kinds = label_profiles(cases, counts)
    find_scan_preset(preset)
    if seed < 0:
        raise InputError(f"seed {seed}; expected a whole number of at least 0")
    made = []
    with writing(out):
        for number, kind in enumerate(kinds):
            # Profile tumor always has a tumor; other profiles may have one that is not annotated.
            content = np.random.SeedSequence([seed, number])
            case = make_case(
                content, preset=preset, tumor=True if kind == "tumor" else None, slices=slices
            )
            made.append(
                _write_case(
                    out, f"phantom_{number + 1:03d}", case, kind, annotated=_annotated(kind, number)
                )
            )
            progress("phantoms", number + 1, cases)
        cohort = Cohort(flare23(), tuple(made))
        write_cohort(out, cohort)
    return cohort


def _annotated(kind: LabelProfile, number: int) -> frozenset[str]:
    table = flare23()
    return frozenset(
        {
            "full": table.organs,
            "tumor": (*_TUMOR_ORGANS, *table.lesions),
            "partial": _SOURCES[number // len(_FIRST) % len(_SOURCES)],
            "unlabeled": (),
            "test": table.names,
        }[kind]
    )


def _write_case(
    out: Path, name: str, case: PhantomCase, kind: LabelProfile, *, annotated: frozenset[str]
) -> Case:
    image, truth, label = (
        out / folder / f"{name}.nii.gz" for folder in ("images", "truth", "labels")
    )
    write_image(image, case.image, description=DESCRIPTION)
    write_labels(truth, case.truth)
    table = flare23()
    if annotated:
        # Somebody who does not annotate lesions draws them as part of the organ.
        seen = case.truth if annotated & set(table.lesions) else case.organs
        wanted = np.zeros(256, np.uint8)
        for item in annotated:
            wanted[table[item].id] = table[item].id
        write_labels(label, Volume(wanted[seen.array], seen.grid))
    role: Role = "test" if kind == "test" else "train"
    return Case(name, image, label if annotated else None, annotated, declared=True, role=role)
