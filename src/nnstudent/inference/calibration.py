"""Windows of a cohort: some to calibrate a quantized network on, others to measure its loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnstudent.bundle.quantise import Sample
from nnstudent.bundle.spec import NetworkSpec, Resampling
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.resample import resample
from nnstudent.inference.windows.sliding import dense_starts, pad
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import Float32Array
from nnstudent.volume import Box

CASES = 12  # at most; a third of them is held back
_PER_CASE = 8  # windows of one case at most
_SEED = 0


def sample_cohort(cohort: Cohort, spec: NetworkSpec) -> tuple[list[Sample], list[Sample]]:
    """Windows to calibrate on, and windows of other cases to compare on.

    Args:
        cohort: Its training cases are used; those with most of the network's classes annotated
            are held back for the comparison.
        spec: The network.

    Raises:
        InputError: There are fewer than two cases, or none has a class of the network annotated.
    """
    order = np.random.default_rng(_SEED).permutation(len(cohort.train()))
    cases = [cohort.train()[k] for k in order]
    cases.sort(key=lambda case: len(case.annotated & set(spec.foreground)), reverse=True)
    labeled = [case for case in cases if case.annotated & set(spec.foreground)]
    if len(cases) < 2 or not labeled:
        raise InputError(
            f"{len(cases)} training cases in the calibration cohort, {len(labeled)} with labels of "
            "this network's classes; expected two or more, one of them labeled, to measure what "
            "int8 costs"
        )
    held = labeled[: max(1, min(len(labeled), len(cases), CASES) // 3)]
    rest = [case for case in cases if case not in held][: CASES - len(held)]
    return [sample for case in rest for sample in windows(case, spec, cohort.taxonomy)], [
        sample for case in held for sample in windows(case, spec, cohort.taxonomy)
    ]


def windows(case: Case, spec: NetworkSpec, taxonomy: Taxonomy) -> Iterator[Sample]:
    """Windows of one case: for each annotated class the one with most of it, and some of the body.

    Args:
        case: The case.
        spec: The network.
        taxonomy: The label table of the case's labels.
    """
    values, truth, annotated = _on_network_grid(case, spec, taxonomy)
    values, place = pad(values, spec.patch)
    labels = np.zeros(values.shape, np.uint8)
    if truth is not None:
        labels[place] = truth
    boxes = [_box(start, spec.patch) for start in dense_starts(values.shape, spec.patch)]
    for box in _choose(values, labels, boxes):
        yield Sample(
            np.ascontiguousarray(values[box]),
            None if truth is None else labels[box].copy(),
            annotated,
        )


def _choose(
    values: Float32Array, labels: np.typing.NDArray[np.uint8], boxes: Sequence[Box]
) -> list[Box]:
    counts = np.array([np.bincount(labels[box].ravel(), minlength=256)[1:] for box in boxes])
    best = [
        int(counts[:, k].argmax()) for k in np.argsort(counts.sum(axis=0)) if counts[:, k].any()
    ]  # small classes first
    # The deviation tells how much besides air a window holds: all air has one value once clipped.
    full = np.argsort([-float(values[box].std()) for box in boxes], kind="stable")
    spread = [int(full[k]) for k in np.linspace(0, (len(full) - 1) / 2, 2).round().astype(int)]
    chosen = list(dict.fromkeys(best))[: _PER_CASE - len(spread)]
    return [boxes[k] for k in dict.fromkeys([*chosen, *spread])]


def _on_network_grid(
    case: Case, spec: NetworkSpec, taxonomy: Taxonomy
) -> tuple[Float32Array, np.typing.NDArray[np.uint8] | None, frozenset[int]]:
    values, frame = preprocess(read_image(case.image), spec)
    known = {
        taxonomy[name].id: channel
        for channel, name in enumerate(spec.classes)
        if channel and name in case.annotated
    }
    if case.label is None or not known:
        return values, None, frozenset()
    table = np.zeros(256, np.float32)
    for id, channel in known.items():
        table[id] = channel
    labels = table[frame.view(read_labels(case.label).array)]
    nearest = Resampling(0, 0, force_separate_z=False)
    truth = resample(labels, frame.shape, nearest, spacing=frame.spacing_mm, target=spec.spacing_mm)
    return values, truth.astype(np.uint8), frozenset(known.values())


def _box(start: tuple[int, int, int], patch: tuple[int, int, int]) -> Box:
    z, y, x = (slice(first, first + size) for first, size in zip(start, patch, strict=True))
    return z, y, x
