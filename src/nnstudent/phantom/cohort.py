"""A cohort of phantoms on disk, with labels as partial as those of FLARE23."""

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
from nnstudent.phantom.acquisition import find_preset
from nnstudent.phantom.case import PhantomCase, make_case
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

Profile = Literal["full", "tumor", "partial", "unlabeled", "test"]
# How large a share of the cases has which labels: all organs, tumor and six organs, one source's organs, none, the whole truth.
SHARES: dict[Profile, float] = {
    "full": 0.2,
    "tumor": 0.2,
    "partial": 0.15,
    "unlabeled": 0.3,
    "test": 0.15,
}
_FIRST: tuple[Profile, ...] = ("full", "tumor", "test", "full", "unlabeled", "partial")
_TUMOR_ORGANS = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney", "stomach")
_SOURCES = (
    ("liver", "right_kidney", "spleen", "pancreas", "left_kidney"),
    ("liver",),
    ("right_kidney", "left_kidney"),
    ("pancreas",),
    ("liver", "spleen", "gallbladder", "esophagus", "stomach"),
)


def profiles(cases: int, counts: Mapping[Profile, int] | None = None) -> list[Profile]:
    """Which labels each of so many cases has.

    The order does not depend on ``cases``, so that a larger cohort begins with the smaller one, and any six cases
    from the first on hold two fully annotated ones and one for testing.

    Args:
        cases: How many.
        counts: How many of some profiles there are; the rest of the cases is shared out among the others.

    Raises:
        InputError: Fewer than one case, a count below 0, or counts that do not add up.
    """
    fixed: dict[Profile, int] = dict(counts or {})
    if cases < 1:
        raise InputError(f"{cases} phantom cases; expected at least 1")
    if any(n < 0 for n in fixed.values()):
        raise InputError(
            f"phantoms: {', '.join(f'{n} {kind}' for kind, n in fixed.items())}; expected counts of at least 0"
        )
    total = sum(fixed.values())
    if total > cases or (total < cases and set(fixed) == set(SHARES)):
        raise InputError(
            f"phantoms: the counts of the profiles add up to {total}, but there are to be {cases} cases; make them agree"
        )
    order: list[Profile] = [kind for kind, n in fixed.items() for _ in range(n)]
    free: dict[Profile, float] = {
        kind: share for kind, share in SHARES.items() if kind not in fixed
    }
    shared = sum(free.values())
    rest: list[Profile] = [kind for kind in _FIRST if not fixed][: cases - total]
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
    counts: Mapping[Profile, int] | None = None,
    progress: Progress = silent,
) -> Cohort:
    """Write a cohort folder of phantoms: ``images/``, ``labels/`` (annotated classes only), ``truth/``, ``cohort.json``.

    Args:
        out: The folder.
        cases: How many cases.
        seed: The same seed makes the same bytes. Case k depends on the seed, k and its profile, not on how many there are.
        preset: What is scanned.
        slices: How many slices a scan has; None follows from its length and thickness.
        counts: How many cases have which labels (see :func:`profiles`).
        progress: Told after every case.

    Raises:
        InputError: Fewer than one case, no such preset, a negative seed, or counts that do not add up.
        OutputError: ``out`` cannot be written.
    """
    kinds = profiles(cases, counts)
    find_preset(preset)
    if seed < 0:
        raise InputError(f"seed {seed}; expected a whole number of at least 0")
    made = []
    with writing(out):
        for number, kind in enumerate(kinds):
            # a tumor profile without a tumor teaches nothing; elsewhere there may be one that nobody annotated
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


def _annotated(kind: Profile, number: int) -> frozenset[str]:
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
    out: Path, name: str, case: PhantomCase, kind: Profile, *, annotated: frozenset[str]
) -> Case:
    image, truth, label = (
        out / folder / f"{name}.nii.gz" for folder in ("images", "truth", "labels")
    )
    write_image(image, case.image)
    write_labels(truth, case.truth)
    table = flare23()
    if annotated:
        # who does not annotate lesions draws the organ as if they were part of it
        seen = case.truth if annotated & set(table.lesions) else case.organs
        wanted = np.zeros(256, np.uint8)
        for item in annotated:
            wanted[table[item].id] = table[item].id
        write_labels(label, Volume(wanted[seen.array], seen.grid))
    role: Role = "test" if kind == "test" else "train"
    return Case(name, image, label if annotated else None, annotated, declared=True, role=role)
