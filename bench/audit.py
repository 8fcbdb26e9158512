"""How well `nnstudent audit` finds wrong labels: a tenth of a phantom cohort's are made wrong.

  python -m bench.audit --cohort FOLDER [--cases 100] [--preset tiny] [--draws 20] [--seed 1]

FOLDER gets phantoms whose organs are all labeled, unless it has them. In each draw a tenth of the
cases is chosen by chance, each is made wrong in one of ten ways (see KINDS), and the audit ranks
all cases. Printed is the average precision over the draws, and for each kind the mean rank and the
share that is among the first tenth. No network is involved.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.labels.audit import case_facts
from nnstudent.labels.suspicion import CaseFacts, find_suspicious, suspicion
from nnstudent.phantom.cohort import make_cohort
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray, MaskArray
from nnstudent.volume import Volume

LARGE_ML = 20.0  # organs that are made wrong have at least this volume
_EXCHANGED = (("liver", "spleen"), ("spleen", "stomach"), ("aorta", "inferior_vena_cava"))


@dataclass(frozen=True)
class _Target:
    """A label map in RAS, and the organ in it that is made wrong."""

    array: LabelArray
    spacing_mm: tuple[float, float, float]
    taxonomy: Taxonomy
    name: str
    chance: np.random.Generator

    @property
    def id(self) -> int:
        return self.taxonomy[self.name].id

    @property
    def mask(self) -> MaskArray:
        mask: MaskArray = self.array == self.id
        return mask

    def steps(self, mm: float) -> list[int]:
        return [max(1, round(mm / step)) for step in self.spacing_mm]

    def ball(self, center: Sequence[float], mm: float) -> MaskArray:
        index = np.indices(self.array.shape).astype(float)
        shape = (3, 1, 1, 1)
        away = (index - np.reshape(center, shape)) * np.reshape(self.spacing_mm, shape)
        inside: MaskArray = (away**2).sum(axis=0) <= mm**2
        return inside


def sides(target: _Target) -> LabelArray:
    """Right and left kidney are exchanged."""
    return _exchange(target, "right_kidney", "left_kidney")


def exchanged(target: _Target) -> LabelArray:
    """Two other organs are exchanged."""
    there = [pair for pair in _EXCHANGED if all(_has(target, name) for name in pair)]
    return _exchange(target, *there[target.chance.integers(len(there))])


def shifted(target: _Target) -> LabelArray:
    """The whole label map is shifted by 20 mm along one axis."""
    axis = int(target.chance.integers(3))
    by = target.steps(20)[axis] * int(target.chance.choice((-1, 1)))
    return np.roll(target.array, by, axis=axis)


def slices(target: _Target) -> LabelArray:
    """Two slices of an organ are missing in its middle."""
    used = np.flatnonzero(target.mask.any(axis=(1, 2)))
    first = int(used[len(used) // 2])
    array = target.array.copy()
    array[first : first + 2][target.mask[first : first + 2]] = 0
    return array


def cut(target: _Target) -> LabelArray:
    """The upper or lower half of an organ is missing."""
    used = np.flatnonzero(target.mask.any(axis=(1, 2)))
    middle = int(used[len(used) // 2])
    part = slice(middle, None) if target.chance.integers(2) else slice(None, middle)
    array = target.array.copy()
    array[part][target.mask[part]] = 0
    return array


def hole(target: _Target) -> LabelArray:
    """An organ lacks its core, about a fifth of its volume."""
    depth = ndimage.distance_transform_edt(target.mask, sampling=target.spacing_mm)
    array = target.array.copy()
    array[depth > np.percentile(depth[target.mask], 80)] = 0
    return array


def island(target: _Target) -> LabelArray:
    """A piece of 8 ml lies elsewhere, in what is not labeled."""
    mm = (8000 * 3 / (4 * np.pi)) ** (1 / 3)
    away = ndimage.distance_transform_edt(target.array == 0, sampling=target.spacing_mm)
    inside = away[10:-10, 15:-15, 15:-15] > mm
    places = np.argwhere(inside) + np.array((10, 15, 15))
    center = places[target.chance.integers(len(places))]
    array = target.array.copy()
    array[target.ball(center, mm)] = target.id
    return array


def dilated(target: _Target) -> LabelArray:
    """An organ reaches 8 mm into what is not labeled."""
    away = ndimage.distance_transform_edt(~target.mask, sampling=target.spacing_mm)
    array = target.array.copy()
    array[(away <= 8) & (array == 0)] = target.id
    return array


def eroded(target: _Target) -> LabelArray:
    """An organ lacks its outer 6 mm."""
    depth = ndimage.distance_transform_edt(target.mask, sampling=target.spacing_mm)
    array = target.array.copy()
    array[target.mask & (depth <= 6)] = 0
    return array


def absent(target: _Target) -> LabelArray:
    """An organ is not labeled at all."""
    array = target.array.copy()
    array[target.mask] = 0
    return array


KINDS: dict[str, Callable[[_Target], LabelArray]] = {
    kind.__name__: kind
    for kind in (sides, exchanged, shifted, slices, cut, hole, island, dilated, eroded, absent)
}


def _has(target: _Target, name: str) -> bool:
    return bool((target.array == target.taxonomy[name].id).any())


def _exchange(target: _Target, one: str, other: str) -> LabelArray:
    table = np.arange(256, dtype=np.uint8)
    first, second = target.taxonomy[one].id, target.taxonomy[other].id
    table[first], table[second] = second, first
    return table[target.array]


def make_wrong(
    labels: Volume, kind: str, taxonomy: Taxonomy, chance: np.random.Generator
) -> tuple[Volume, str]:
    """Make a label map wrong in one way; returns it in RAS, and the organ that was chosen."""
    turned = labels.reoriented()
    array = np.ascontiguousarray(turned.array)
    counts = np.bincount(array.ravel(), minlength=256) * turned.grid.voxel_ml
    large = [name for name in taxonomy.organs if counts[taxonomy[name].id] >= LARGE_ML]
    name = str(chance.choice(large))
    target = _Target(array, turned.spacing_mm, taxonomy, name, chance)
    wrong = KINDS[kind](target)
    if np.array_equal(wrong, array):
        raise ValueError(f"{kind} of {name} changes nothing")
    return Volume(wrong, turned.grid), name


def average_precision(ranked: Sequence[str], wrong: set[str]) -> float:
    """Mean over the wrong ones of the share of wrong ones down to each."""
    hits, total = 0, 0.0
    for place, id in enumerate(ranked, start=1):
        if id in wrong:
            hits += 1
            total += hits / place
    return total / len(wrong)


def rank(facts: Sequence[CaseFacts], taxonomy: Taxonomy) -> list[str]:
    """The cases as the audit ranks them, the worst first."""
    found = defaultdict(list)
    for finding in find_suspicious(facts, taxonomy):
        found[finding.case].append(finding)
    scores = {case.id: suspicion(found[case.id]) for case in facts}
    return sorted(scores, key=lambda id: (-scores[id], id))


class Draws:
    """Draws from one cohort; the facts of cases as they are are measured once."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.clean = {case.id: self._facts(case.id, None) for case in cohort}

    def _given(self, id: str) -> Volume:
        """The labels that a case came with."""
        label = self.cohort[id].label
        assert label is not None
        return read_labels(label)

    def _facts(self, id: str, labels: Volume | None) -> CaseFacts:
        case, taxonomy = self.cohort[id], self.cohort.taxonomy
        image = read_image(case.image)
        if labels is None:
            labels = self._given(id)
        else:
            image = image.reoriented()
        names = taxonomy.sorted(case.annotated)
        return case_facts(id, image, labels, names=names, taxonomy=taxonomy)

    def draw(self, chance: np.random.Generator) -> tuple[list[str], dict[str, str]]:
        """Make a tenth wrong; returns the cases as ranked, and the kind of the wrong ones."""
        ids = sorted(self.clean)
        count = max(1, round(len(ids) / 10))
        chosen = chance.choice(ids, count, replace=False)
        kinds = [list(KINDS)[k % len(KINDS)] for k in chance.permutation(max(count, len(KINDS)))]
        facts, wrong = dict(self.clean), {}
        for id, kind in zip(chosen, kinds[:count], strict=True):
            labels, _ = make_wrong(self._given(str(id)), kind, self.cohort.taxonomy, chance)
            facts[id], wrong[str(id)] = self._facts(str(id), labels), kind
        return rank(list(facts.values()), self.cohort.taxonomy), wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the draws")
    parser.add_argument("--cohort-seed", type=int, default=77, help="of the phantoms")
    args = parser.parse_args()
    if not (args.cohort / "cohort.json").is_file():
        make_cohort(
            args.cohort,
            cases=args.cases,
            seed=args.cohort_seed,
            preset=args.preset,
            counts={"full": args.cases},
        )
    draws = Draws(read_cohort(args.cohort))
    chance = np.random.default_rng(args.seed)
    precisions, ranks, first = [], defaultdict(list), defaultdict(list)
    for _ in range(args.draws):
        ranked, wrong = draws.draw(chance)
        precisions.append(average_precision(ranked, set(wrong)))
        for id, kind in wrong.items():
            place = ranked.index(id) + 1
            ranks[kind].append(place)
            first[kind].append(place <= len(wrong))
    print(
        f"{len(draws.clean)} cases, {args.draws} draws: average precision "
        f"{np.mean(precisions):.3f} (lowest {min(precisions):.3f})"
    )
    for kind, places in ranks.items():
        print(
            f"{kind:10} {len(places):3} times, mean rank {np.mean(places):5.1f}, "
            f"in the first tenth {np.mean(first[kind]):4.0%}"
        )


if __name__ == "__main__":
    main()
