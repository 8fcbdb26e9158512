"""A lesion stage's rule for each host, chosen on patients that nothing learns from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.protocol import LESION_ML, LESION_THRESHOLDS, MOST_FALSE
from nnstudent.bundle.bundle import Model
from nnstudent.bundle.spec import HostRule
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.inference.labels.hosted import as_hosts
from nnstudent.inference.lesion_stage import nearest_host
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels
from nnstudent.pipeline.predict import predict
from nnstudent.progress import Progress
from nnstudent.taxonomy import Taxonomy

_NEIGHBORS = np.ones((3, 3, 3), bool)
Rules = dict[str, HostRule]


def as_data(rules: Rules) -> dict[str, dict[str, float]]:
    """Rules as they are written into a record."""
    return {name: vars(rule) for name, rule in rules.items()}


def read_rules(record: Path) -> Rules:
    """The rules that a record has."""
    rules = json.loads(record.read_text("utf-8"))["rules"]
    return {name: HostRule(**rule) for name, rule in rules.items()}


@dataclass(frozen=True)
class Piece:
    """A lesion that was found.

    Attributes:
        host: The organ of most of its voxels: of each, the nearest host.
        voxels: Its size.
        right: How many of its voxels are of a true lesion.
        ml: Its volume.
    """

    host: str
    voxels: int
    right: int
    ml: float


@dataclass(frozen=True)
class Found:
    """What was found in a patient.

    Attributes:
        truth: Voxels of its true lesions.
        pieces: By threshold, the pieces.
    """

    truth: int
    pieces: Mapping[float, tuple[Piece, ...]]

    def kept(self, rules: Mapping[str, HostRule]) -> list[Piece]:
        """The pieces that the rules of their hosts keep."""
        return [
            piece
            for threshold, pieces in self.pieces.items()
            for piece in pieces
            if rules[piece.host].threshold == threshold and piece.ml >= rules[piece.host].least_ml
        ]


@dataclass(frozen=True, order=True)
class Worth:
    """What rules are worth; the greater, the better.

    Attributes:
        allowed: The share of the patients without a lesion in whom one was found, above
            :data:`~bench.protocol.MOST_FALSE`, and negative; 0 if it is not above.
        dsc: Mean DSC of the patients with lesions.
    """

    allowed: float
    dsc: float


def choose_rules(
    model: Model, cohort: Cohort, work: Path, *, threads: int | None, progress: Progress
) -> tuple[Rules, Worth]:
    """The rules with the best DSC that find a lesion in few patients without one.

    Every host begins with the strictest rule. The one change of a host's rule that is worth most is
    made, again and again, until none is worth anything.

    Args:
        model: A bundle whose last network is a lesion stage; its own rules are not used.
        cohort: The patients.
        work: Folder for what is found at each threshold.
        threads: CPU threads; None for whatever is fastest.
        progress: Called after each case.

    Returns:
        The rule of each host, and what they are worth.

    Raises:
        InputError: A case failed.
    """
    hosts = tuple(model.networks[-1].spec.hosts)
    patients = _found(model, cohort, work, hosts=hosts, threads=threads, progress=progress)
    candidates = [HostRule(*pair) for pair in product(LESION_THRESHOLDS, LESION_ML)]
    rules = dict.fromkeys(hosts, HostRule(max(LESION_THRESHOLDS), max(LESION_ML)))
    best = worth(patients, rules)
    while True:
        changed = [rules | {host: rule} for host in hosts for rule in candidates]
        better = max(changed, key=lambda some: worth(patients, some))
        if worth(patients, better) <= best:
            return rules, best
        rules, best = better, worth(patients, better)


def worth(patients: Sequence[Found], rules: Mapping[str, HostRule]) -> Worth:
    """What rules are worth on patients."""
    kept = [(patient.truth, patient.kept(rules)) for patient in patients]
    scores = [
        2 * sum(one.right for one in pieces) / (truth + sum(one.voxels for one in pieces))
        for truth, pieces in kept
        if truth
    ]
    wrong = [bool(pieces) for truth, pieces in kept if not truth]
    false = float(np.mean(wrong)) if wrong else 0.0
    return Worth(-max(0.0, false - MOST_FALSE), float(np.mean(scores)) if scores else 0.0)


def _found(
    model: Model,
    cohort: Cohort,
    work: Path,
    *,
    hosts: Sequence[str],
    threads: int | None,
    progress: Progress,
) -> list[Found]:
    """What a lesion stage finds in each patient at each threshold, however small."""
    pieces: dict[str, dict[float, tuple[Piece, ...]]] = {case.id: {} for case in cohort.test()}
    truth: dict[str, int] = {}
    for threshold in LESION_THRESHOLDS:
        everything = _with_rule(model, HostRule(threshold, 0.0))
        out = work / f"threshold-{threshold:g}"
        failures = predict(
            cohort.test(), Segmenter(everything, threads=threads), out=out, progress=progress
        )
        if failures:
            raise InputError(f"{failures[0]}; every patient for choosing must be segmented")
        for case in cohort.test():
            truth[case.id], pieces[case.id][threshold] = _pieces(
                case, out, model.taxonomy, hosts=hosts
            )
    return [Found(truth[id], pieces[id]) for id in pieces]


def _with_rule(model: Model, rule: HostRule) -> Model:
    """A bundle whose lesion stage, its last network, has this rule for all its hosts."""
    *organs, stage = model.networks
    hosts = dict.fromkeys(stage.spec.hosts, rule)
    return replace(model, networks=(*organs, replace(stage, spec=replace(stage.spec, hosts=hosts))))


def _pieces(
    case: Case, out: Path, taxonomy: Taxonomy, *, hosts: Sequence[str]
) -> tuple[int, tuple[Piece, ...]]:
    """How many voxels of a patient are of true lesions, and what was found."""
    assert case.label is not None
    found, truth = read_labels(out / f"{case.id}.nii.gz"), read_labels(case.label)
    lesions = [taxonomy[name].id for name in taxonomy.lesions]
    right = np.isin(truth.array, lesions)
    nearest, _ = nearest_host(
        as_hosts(found.array, lesions),
        [taxonomy[name].id for name in hosts],
        spacing_mm=found.grid.spacing_mm,
    )
    parts, _ = ndimage.label(np.isin(found.array, lesions), structure=_NEIGHBORS)
    pieces = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        own = parts[box] == number
        near = np.bincount(nearest[box][own], minlength=1)
        near[0] = 0  # out of the reach of any host
        if not near.any():
            continue
        voxels = int(own.sum())
        pieces.append(
            Piece(
                taxonomy.by_id(int(near.argmax())).name,
                voxels,
                int((own & right[box]).sum()),
                voxels * found.grid.voxel_ml,
            )
        )
    return int(right.sum()), tuple(pieces)
