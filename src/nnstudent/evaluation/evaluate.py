"""Evaluation of predictions against truth: from files to :class:`Scores`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.declared import common_table
from nnstudent.evaluation.lesions import Detection, detect
from nnstudent.evaluation.metrics import bounding_boxes, enclosing_box, without_ignored
from nnstudent.evaluation.pairs import CaseSubset, Pair, Pairs, pair_cohort, pair_files
from nnstudent.evaluation.protocols import ClassScore, Protocol, find_protocol, score
from nnstudent.evaluation.scores import CaseScores, Scores
from nnstudent.evaluation.shared import Share, check_share
from nnstudent.io.nifti import read_header_spacing, read_labels
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import IGNORE, LabelClass, Taxonomy
from nnstudent.volume import Box, Volume


def evaluate(
    predictions: Path,
    truth: Path | Cohort,
    *,
    taxonomy: Taxonomy | None = None,
    protocol: str = "strict",
    classes: Iterable[str] | None = None,
    annotation: Cohort | None = None,
    subset: CaseSubset = "auto",
    whole_organs: bool = False,
    common_only: bool = False,
    seed: int = 0,
    share: Share | None = None,
    progress: Progress = silent,
) -> Scores:
    """Score label maps against the truth, per case and class.

    Only annotated classes are scored. For lesion classes, single lesions are counted as well:
    found, missed and false. A missing prediction scores 0. A case whose files cannot be read or do
    not fit together is named in ``failures`` and is in no mean.

    Args:
        predictions: A label map or a folder of label maps, named after the cases.
        truth: A label map, a folder of label maps, or a cohort (read, or a folder with
            ``cohort.json``).
        taxonomy: The label table; None for the cohort's, or FLARE23's if there is no cohort.
        protocol: ``strict`` or ``flare23``.
        classes: The classes to score; None for all that are annotated.
        annotation: If ``truth`` holds label maps, a cohort that has the annotated classes of the
            cases of these names.
        subset: If ``truth`` is a cohort, the cases to score; ``auto`` for the test cases if one of
            them was predicted.
        whole_organs: Leave out an organ whose truth touches the first or last slice, or is smaller
            than the table's ``minimum_ml``, because the field of view cuts it.
        common_only: Leave out cases without a prediction instead of scoring them 0; they are
            listed.
        seed: Seed of the bootstrap intervals.
        share: Score only a part of the cases and record it, or put together the parts; None for
            all cases in one call.
        progress: Called after each case.

    Raises:
        InputError: A path, protocol or class does not exist, a folder is empty, no names match, or
            a part to put together has not ended.
    """
    rules = find_protocol(protocol)
    paired, table = _paired(
        predictions,
        truth,
        taxonomy=taxonomy,
        classes=classes,
        annotation=annotation,
        subset=subset,
    )
    pairs = paired.pairs if share is None else share.part.of(paired.pairs)
    cases, failures = _scored(
        [pair for pair in pairs if pair.prediction is not None or not common_only],
        lambda pair: _score_case(pair, table, rules, whole_organs=whole_organs),
        share=share,
        settings=[
            [protocol, whole_organs, common_only, table.to_dict()],
            [[pair.id, pair.prediction is None, list(pair.classes)] for pair in paired.pairs],
        ],
        progress=progress,
    )
    scores = Scores(
        protocol=rules,
        taxonomy=table,
        cases=cases,
        failures=failures,
        missing=tuple(pair.id for pair in pairs if pair.prediction is None),
        without_truth=paired.without_truth,
        common_only=common_only,
        seed=seed,
    )
    present = {name for case in cases for name in case.present}
    absent = [name for name in scores.classes if name not in present]
    notes = paired.notices
    if absent:
        notes += (
            f"{', '.join(absent)}: in no truth of these cases; "
            "if nobody looked for it, declare what is annotated (--cohort or --classes)",
        )
    return replace(scores, notes=notes)


def _paired(
    predictions: Path,
    truth: Path | Cohort,
    *,
    taxonomy: Taxonomy | None,
    classes: Iterable[str] | None,
    annotation: Cohort | None,
    subset: CaseSubset,
) -> tuple[Pairs, Taxonomy]:
    """The cases to score and their label table; see :func:`evaluate`."""
    if isinstance(truth, Path) and (truth / "cohort.json").is_file():
        truth = read_cohort(truth)
    if isinstance(truth, Cohort):
        if annotation is not None:
            raise InputError(
                "the truth is a cohort and says itself what is annotated; "
                "leave the other cohort out"
            )
        return (
            pair_cohort(predictions, truth, classes=classes, subset=subset),
            taxonomy or truth.taxonomy,
        )
    table = taxonomy or (
        annotation.taxonomy if annotation is not None else common_table(predictions, truth)
    )
    return (
        pair_files(predictions, truth, taxonomy=table, classes=classes, annotation=annotation),
        table,
    )


def _scored(
    pairs: Sequence[Pair],
    work: Callable[[Pair], CaseScores],
    *,
    share: Share | None,
    settings: Any,
    progress: Progress,
) -> tuple[Sequence[CaseScores], Sequence[Failure]]:
    """The scores and the failures of these cases, in their order: made now, or by the parts."""
    if share is not None:
        check_share(share)
        if share.merge is not None:
            order = {pair.id: place for place, pair in enumerate(pairs)}
            cases, failed = share.merged(settings=settings)
            return (
                sorted(cases, key=lambda case: order[case.id]),
                sorted(failed, key=lambda failure: order[failure.case]),
            )
        share.begin()
    results, failures = for_each_case(
        pairs,
        work,
        files=lambda pair: (pair.prediction, pair.truth),
        what="evaluate",
        progress=progress,
    )
    found = [case for _, case in results]
    if share is not None:
        share.end(found, failures, settings=settings)
    return found, failures


def _score_case(
    pair: Pair, table: Taxonomy, protocol: Protocol, *, whole_organs: bool
) -> CaseScores:
    """The scores of a case."""
    truth, true = _read(pair.truth, table, what="truth")
    items = [table[name] for name in pair.classes]
    left_out = {
        item.name: why
        for item in items
        if whole_organs and (why := _why_cut(item, truth, true.get(item.id)))
    }
    scored = [item for item in items if item.name not in left_out]
    present = frozenset(table.by_id(id).name for id in true)
    if pair.prediction is None:
        zero = {item.name: ClassScore(0.0, 0.0) for item in scored}
        missed = _lesions(None, truth, scored, predicted={}, true=true)
        return CaseScores(
            pair.id, None, pair.truth, zero, left_out, ("no prediction",), missed, present
        )
    prediction, predicted = _read(
        pair.prediction,
        table,
        what="prediction",
        axcodes=None if protocol.as_stored else truth.grid.axcodes,
    )
    warnings = _compare_grids(pair.prediction, prediction, truth, protocol)
    counted = without_ignored(prediction.array, truth.array)
    if counted is not prediction.array:
        prediction = Volume(counted, prediction.grid)
        predicted = bounding_boxes(counted)
    spacing = read_header_spacing(pair.truth) if protocol.as_stored else truth.spacing_mm
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
        pair.id, pair.prediction, pair.truth, scores, left_out, warnings, found, present
    )


def _lesions(
    prediction: Volume | None,
    truth: Volume,
    items: Iterable[LabelClass],
    *,
    predicted: Mapping[int, Box],
    true: Mapping[int, Box],
) -> dict[str, Detection]:
    """Detection of each lesion class, within the box around both label maps' lesions."""
    found = {}
    for item in items:
        if item.kind != "lesion":
            continue
        box = enclosing_box(predicted.get(item.id), true.get(item.id))
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
    """A label map and the box around each class; ``axcodes`` is the orientation to turn it to."""
    labels = read_labels(path)
    if axcodes is not None and labels.grid.axcodes != axcodes:
        turned = labels.reoriented(axcodes)
        labels = Volume(np.ascontiguousarray(turned.array), turned.grid)
    found = dict(bounding_boxes(labels.array))
    if what == "truth":
        found.pop(IGNORE, None)
    unknown = sorted(set(found) - set(table.ids))
    if unknown:
        raise InputError(
            f"{path}: the {what} holds {', '.join(map(str, unknown[:5]))}, which label table "
            f"{table.name} does not have (it has {', '.join(map(str, table.ids))}); "
            "give the right table with --taxonomy"
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
        f"the prediction is on another grid than the truth ({difference}); "
        f"{protocol.name} compares voxels as they are stored",
    )


def _why_cut(item: LabelClass, truth: Volume, box: Box | None) -> str | None:
    """Why an organ's truth is not whole; None if it is, or if the class is a lesion."""
    if item.kind != "organ":
        return None
    volume = (
        0.0 if box is None else np.count_nonzero(truth.array[box] == item.id) * truth.grid.voxel_ml
    )
    if box is None or volume < item.minimum_ml:
        return f"{volume:.1f} ml in view; a whole one has at least {item.minimum_ml:g} ml"
    codes = truth.grid.axcodes[::-1]  # of the array's axes (z, y, x)
    axis = next(i for i, code in enumerate(codes) if code in "SI")
    if box[axis].start == 0 or box[axis].stop == truth.array.shape[axis]:
        return "touches the first or last slice"
    return None
