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
from nnstudent.types import MaskArray
from nnstudent.volume import Volume

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
    """The lesions that were found in a patient.

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
    """The worth of rules; the greater, the better.

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
        The rule of each host, and the worth of all.

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
        values = [worth(patients, some) for some in changed]
        if max(values) <= best:
            return rules, best
        best = max(values)
        rules = changed[values.index(best)]


def worth(patients: Sequence[Found], rules: Mapping[str, HostRule]) -> Worth:
    """The worth of rules on patients."""
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
    """The lesions that a stage finds in each patient at each threshold, however small."""
    folders = {threshold: work / f"threshold-{threshold:g}" for threshold in LESION_THRESHOLDS}
    for threshold, out in folders.items():
        everything = _with_rule(model, HostRule(threshold, 0.0))
        failures = predict(
            cohort.test(), Segmenter(everything, threads=threads), out=out, progress=progress
        )
        if failures:
            raise InputError(f"{failures[0]}; every patient for choosing must be segmented")
    return [_found_in(case, folders, model.taxonomy, hosts=hosts) for case in cohort.test()]


def _with_rule(model: Model, rule: HostRule) -> Model:
    """A bundle whose lesion stage, its last network, has this rule for all its hosts."""
    *organs, stage = model.networks
    hosts = dict.fromkeys(stage.spec.hosts, rule)
    return replace(model, networks=(*organs, replace(stage, spec=replace(stage.spec, hosts=hosts))))


def _found_in(
    case: Case, folders: Mapping[float, Path], taxonomy: Taxonomy, *, hosts: Sequence[str]
) -> Found:
    """The lesions of a patient in the label maps of each threshold."""
    assert case.label is not None
    lesions = [taxonomy[name].id for name in taxonomy.lesions]
    right = np.isin(read_labels(case.label).array, lesions)
    pieces = {
        threshold: _pieces(read_labels(folder / f"{case.id}.nii.gz"), right, taxonomy, hosts=hosts)
        for threshold, folder in folders.items()
    }
    return Found(int(right.sum()), pieces)


def _pieces(
    found: Volume, right: MaskArray, taxonomy: Taxonomy, *, hosts: Sequence[str]
) -> tuple[Piece, ...]:
    """The lesions in a label map, each with the host that it lies in or nearest to."""
    lesions = [taxonomy[name].id for name in taxonomy.lesions]
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
    return tuple(pieces)
