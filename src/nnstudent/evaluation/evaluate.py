"""Score predictions against truth: files in, :class:`Scores` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.errors import InputError
from nnstudent.evaluation.declared import common_table
from nnstudent.evaluation.lesions import Detection, detect
from nnstudent.evaluation.metrics import around_both, boxes
from nnstudent.evaluation.pairs import Pair, Which, pair_cohort, pair_files
from nnstudent.evaluation.protocols import ClassScore, Protocol, find_protocol, score
from nnstudent.evaluation.scores import CaseScores, Scores
from nnstudent.io.nifti import read_labels
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Box, Spacing, Volume


def evaluate(
    predictions: Path,
    truth: Path | Cohort,
    *,
    taxonomy: Taxonomy | None = None,
    protocol: str = "strict",
    classes: Iterable[str] | None = None,
    annotation: Cohort | None = None,
    which: Which = "auto",
    whole_organs: bool = False,
    common_only: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Scores:
    """Score label maps against the truth, per case and class.

    Classes that the truth has not annotated are not scored; of lesion classes the single lesions are counted as well, found, missed
    and false. A missing prediction scores 0. A case whose files cannot be read or do not
    fit together is named in ``failures`` and is in no mean.

    Args:
        predictions: A label map or a folder of them, named as the cases.
        truth: A label map, a folder of them, or a cohort (a folder with ``cohort.json``, or read already).
        taxonomy: The label table; None: the cohort's, else FLARE23's.
        protocol: ``strict`` or ``flare23``.
        classes: Score only these classes; None for all that are annotated.
        annotation: Where ``truth`` holds label maps: a cohort that says what is annotated in the cases of these names.
        which: Where ``truth`` is a cohort: which of its cases; ``auto`` is the test cases if one of them was predicted.
        whole_organs: Leave out an organ whose truth touches the first or last slice, or is under the table's ``minimum_ml``:
            the field of view cuts it.
        common_only: Leave out the cases without a prediction instead of scoring them 0; they are listed.
        seed: Of the bootstrap intervals.
        progress: Told after each case.

    Raises:
        InputError: A path, protocol or class does not exist, a folder is empty, or nothing fits together.
    """
    rules = find_protocol(protocol)
    if isinstance(truth, Path) and (truth / "cohort.json").is_file():
        truth = read_cohort(truth)
    if isinstance(truth, Cohort):
        if annotation is not None:
            raise InputError(
                "the truth is a cohort and says itself what is annotated; leave the other cohort out"
            )
        table = taxonomy or truth.taxonomy
        paired = pair_cohort(predictions, truth, classes=classes, which=which)
    else:
        table = taxonomy or (
            annotation.taxonomy if annotation is not None else common_table(predictions, truth)
        )
        paired = pair_files(
            predictions, truth, taxonomy=table, classes=classes, annotation=annotation
        )

    results, failures = for_each_case(
        [pair for pair in paired.pairs if pair.prediction is not None or not common_only],
        lambda pair: _score_case(pair, table, rules, whole_organs),
        files=lambda pair: (pair.prediction, pair.truth),
        what="evaluate",
        progress=progress,
    )
    cases = [case for _, (case, _) in results]
    present = {name for _, (_, seen) in results for name in seen}
    missing = tuple(pair.id for pair in paired.pairs if pair.prediction is None)
    scores = Scores(
        rules, table, cases, failures, missing, paired.without_truth, common_only, seed=seed
    )
    notes = paired.notices
    never = [name for name in scores.classes if name not in present]
    if never:
        notes += (
            f"{', '.join(never)}: in no truth of these cases; if nobody looked for it, say what is annotated",
        )
    return replace(scores, notes=notes)


def _score_case(
    pair: Pair, table: Taxonomy, protocol: Protocol, whole_organs: bool
) -> tuple[CaseScores, set[str]]:
    truth, true = _read(pair.truth, table, what="truth")
    items = [table[name] for name in pair.classes]
    left_out = {
        item.name: why
        for item in items
        if whole_organs and (why := _cut(item, truth, true.get(item.id)))
    }
    scored = [item for item in items if item.name not in left_out]
    present = {table.by_id(id).name for id in true}
    if pair.prediction is None:
        zero = {item.name: ClassScore(0.0, 0.0) for item in scored}
        missed = _lesions(None, truth, scored, predicted={}, true=true)
        return CaseScores(
            pair.id, None, pair.truth, zero, left_out, ("no prediction",), missed
        ), present
    prediction, predicted = _read(
        pair.prediction,
        table,
        what="prediction",
        axcodes=None if protocol.as_stored else truth.grid.axcodes,
    )
    warnings = _compare_grids(pair.prediction, prediction, truth, protocol)
    spacing = _header_spacing(pair.truth, truth) if protocol.as_stored else truth.spacing_mm
    scores = {}
    for item in scored:
        both = predicted.get(item.id), true.get(item.id)
        scores[item.name] = score(
            prediction.array,
            truth.array,
            item=item,
            boxes=both,
            spacing_mm=spacing,
            protocol=protocol,
        )
    found = _lesions(prediction, truth, scored, predicted=predicted, true=true)
    return CaseScores(
        pair.id, pair.prediction, pair.truth, scores, left_out, warnings, found
    ), present


def _lesions(
    prediction: Volume | None,
    truth: Volume,
    items: Iterable[LabelClass],
    *,
    predicted: Mapping[int, Box],
    true: Mapping[int, Box],
) -> dict[str, Detection]:
    """The lesions of each lesion class, looked for in the box around both label maps' only."""
    found = {}
    for item in items:
        if item.kind != "lesion":
            continue
        box = around_both(predicted.get(item.id), true.get(item.id))
        if box is None:
            found[item.name] = Detection()
            continue
        mask = None if prediction is None else prediction.array[box] == item.id
        found[item.name] = detect(
            mask,
            truth.array[box] == item.id,
            voxel_ml=truth.grid.voxel_ml,
            minimum_ml=item.minimum_ml,
        )
    return found


def _read(
    path: Path, table: Taxonomy, *, what: str, axcodes: str | None = None
) -> tuple[Volume, Mapping[int, Box]]:
    """A label map and the box around each class; with ``axcodes``, stored in that orientation."""
    labels = read_labels(path)
    if axcodes is not None and labels.grid.axcodes != axcodes:
        turned = labels.reoriented(axcodes)
        labels = Volume(np.ascontiguousarray(turned.array), turned.grid)
    found = boxes(labels.array)
    unknown = sorted(set(found) - set(table.ids))
    if unknown:
        raise InputError(
            f"{path}: the {what} holds {', '.join(map(str, unknown[:5]))}, which label table {table.name} does not have "
            f"(it has {', '.join(map(str, table.ids))}); give the right table with --taxonomy"
        )
    return labels, found


def _compare_grids(
    path: Path, prediction: Volume, truth: Volume, protocol: Protocol
) -> tuple[str, ...]:
    if not protocol.as_stored or prediction.grid.shape != truth.grid.shape:
        advice = "predict on the grid of the image, or resample the prediction onto it"
        truth.grid.require(prediction.grid, what=str(path), of="the truth", advice=advice)
    if prediction.grid.matches(truth.grid):
        return ()
    difference = truth.grid.difference(prediction.grid)
    return (
        f"the prediction is on another grid than the truth ({difference}); {protocol.name} compares voxels as they are stored",
    )


def _header_spacing(path: Path, labels: Volume) -> Spacing:
    """The spacing that the organisers' script reads: single precision, from the header's own field, along (z, y, x)."""
    zooms = nib.load(path).header.get_zooms()[:3]
    z, y, x = (float(np.float32(mm)) for mm in zooms[::-1])
    return (z, y, x) if min(z, y, x) > 0 else labels.spacing_mm


def _cut(item: LabelClass, truth: Volume, box: Box | None) -> str | None:
    """Why an organ's truth is not a whole one; None if it is, or the class is a lesion."""
    if item.kind != "organ":
        return None
    volume = (
        0.0 if box is None else np.count_nonzero(truth.array[box] == item.id) * truth.grid.voxel_ml
    )
    if box is None or volume < item.minimum_ml:
        return f"{volume:.1f} ml in view, a whole one has at least {item.minimum_ml:g} ml"
    codes = truth.grid.axcodes[::-1]  # of the array's axes (z, y, x)
    axis = next(i for i, code in enumerate(codes) if code in "SI")
    if box[axis].start == 0 or box[axis].stop == truth.array.shape[axis]:
        return "touches the first or last slice"
    return None
