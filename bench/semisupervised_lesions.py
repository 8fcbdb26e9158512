"""A lesion stage's threshold and smallest lesion, chosen on patients that nothing learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.protocol import LESION_ML, LESION_THRESHOLDS
from nnstudent.bundle.bundle import Model
from nnstudent.bundle.spec import HostRule
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels
from nnstudent.pipeline.predict import predict
from nnstudent.progress import Progress
from nnstudent.types import MaskArray

_NEIGHBORS = np.ones((3, 3, 3), bool)


def choose_rule(
    model: Model, cohort: Cohort, work: Path, *, threads: int | None, progress: Progress
) -> tuple[HostRule, dict[str, float]]:
    """The rule with the best mean over the test cases of a cohort.

    A case with lesions counts with its DSC, one without with 1 if nothing is found in it and
    otherwise with 0. Of equally good rules the first is taken, which keeps most.

    Args:
        model: A bundle whose last network is a lesion stage; its own rules are not used.
        cohort: The patients.
        work: Folder for what is found at each threshold.
        threads: CPU threads; None for whatever is fastest.
        progress: Called after each case.

    Returns:
        The rule, and the mean of each one by its name.

    Raises:
        InputError: A case failed.
    """
    tumor = model.taxonomy[model.taxonomy.lesions[0]].id
    means: dict[HostRule, float] = {}
    for threshold in LESION_THRESHOLDS:
        everything = with_rule(model, HostRule(threshold, 0.0))
        out = work / f"threshold-{threshold:g}"
        failures = predict(
            cohort.test(), Segmenter(everything, threads=threads), out=out, progress=progress
        )
        if failures:
            raise InputError(f"{failures[0]}; every patient for choosing must be segmented")
        cases = [_lesions(case, out, tumor) for case in cohort.test()]
        for ml in LESION_ML:
            means[HostRule(threshold, ml)] = float(np.mean(list(_values(cases, ml))))
    best = max(means, key=lambda rule: means[rule])
    named = {
        f"from {rule.threshold:g}, {rule.least_ml:g} ml": round(mean, 4)
        for rule, mean in means.items()
    }
    return best, named


def with_rule(model: Model, rule: HostRule) -> Model:
    """A bundle whose lesion stage, its last network, has this rule for all its hosts."""
    *organs, stage = model.networks
    hosts = dict.fromkeys(stage.spec.hosts, rule)
    return replace(model, networks=(*organs, replace(stage, spec=replace(stage.spec, hosts=hosts))))


def _lesions(case: Case, out: Path, tumor: int) -> tuple[MaskArray, MaskArray, float]:
    """The lesions that were found, the true ones, and the ml of a voxel."""
    assert case.label is not None
    found, truth = read_labels(out / f"{case.id}.nii.gz"), read_labels(case.label)
    return found.array == tumor, truth.array == tumor, found.grid.voxel_ml


def _values(
    cases: Iterable[tuple[MaskArray, MaskArray, float]], least_ml: float
) -> Iterable[float]:
    """What each case counts with, if pieces under ``least_ml`` are left out."""
    for found, truth, voxel_ml in cases:
        parts, _ = ndimage.label(found, structure=_NEIGHBORS)
        kept = np.bincount(parts.ravel()) * voxel_ml >= least_ml
        kept[0] = False
        large = kept[parts]
        yield dsc(large, truth) if truth.any() else float(not large.any())
