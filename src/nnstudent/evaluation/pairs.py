"""Pairing of predictions with their truth, and the classes to score in each pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.io import finder
from nnstudent.io.nifti import stem
from nnstudent.taxonomy import Taxonomy

CaseSubset = Literal["auto", "test", "train", "all"]


@dataclass(frozen=True)
class Pair:
    """A case to score.

    Attributes:
        id: The case's id.
        prediction: The predicted label map; None if it is missing.
        truth: The true label map.
        classes: Names of the classes to score, in the table's order.
    """

    id: str
    prediction: Path | None
    truth: Path
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """The cases to score.

    Attributes:
        pairs: The cases.
        without_truth: Names of the predictions that have no truth.
        notices: What was passed over, one line each.
    """

    pairs: tuple[Pair, ...]
    without_truth: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def pair_files(
    predictions: Path,
    truth: Path,
    *,
    taxonomy: Taxonomy,
    classes: Iterable[str] | None = None,
    annotation: Cohort | None = None,
) -> Pairs:
    """Pair label maps of the same name; two single files are paired whatever their names.

    Args:
        predictions: A label map or a folder of label maps.
        truth: A label map or a folder of label maps.
        taxonomy: The label table.
        classes: The classes to score; None for all classes of the table.
        annotation: A cohort that has the annotated classes of the cases of these names; cases that
            it does not have are not scored. None if all classes of the table are annotated.

    Raises:
        InputError: A path is missing, a folder has no label map, no names match, or a class is not
            in the table.
    """
    wanted = taxonomy.names if classes is None else taxonomy.sorted(classes)
    found, true = label_maps(predictions, what="predictions"), label_maps(truth, what="truth")
    if predictions.is_file() and truth.is_file():
        found = {next(iter(true)): predictions}
    elif predictions.is_file():
        true = {id: path for id, path in true.items() if id in found}
    elif truth.is_file():
        found = {id: path for id, path in found.items() if id in true}
    known = None if annotation is None else {case.id: case.annotated for case in annotation}
    pairs = tuple(
        Pair(
            id,
            found.get(id),
            path,
            wanted if known is None else tuple(name for name in wanted if name in known[id]),
        )
        for id, path in true.items()
        if known is None or id in known
    )
    return _checked(
        pairs, found, predictions, truth, notices=(*passed_over(predictions), *passed_over(truth))
    )


def pair_cohort(
    predictions: Path,
    cohort: Cohort,
    *,
    classes: Iterable[str] | None = None,
    subset: CaseSubset = "auto",
) -> Pairs:
    """Pair label maps with the cases of a cohort; only annotated classes are scored.

    Args:
        predictions: A label map or a folder of label maps, named after the cases.
        cohort: The cases and their truth.
        classes: The classes to score as far as they are annotated; None for all.
        subset: The cases to score; ``auto`` for the test cases if one of them was predicted, and
            otherwise all cases that have truth.

    Raises:
        InputError: There are no predictions, none belongs to a case with truth, or a class is not
            in the table.
    """
    wanted = cohort.taxonomy.names if classes is None else cohort.taxonomy.sorted(classes)
    found = label_maps(predictions, what="predictions")
    cases = [
        case for case in _chosen(cohort, subset, found) if case.label is not None and case.annotated
    ]
    if predictions.is_file():
        cases = [case for case in cases if case.id in found]
    pairs = tuple(
        Pair(
            case.id,
            found.get(case.id),
            case.label,
            tuple(name for name in wanted if name in case.annotated),
        )
        for case in cases
        if case.label is not None
    )
    return _checked(pairs, found, predictions, "the cohort", notices=passed_over(predictions))


def _chosen(cohort: Cohort, subset: CaseSubset, found: dict[str, Path]) -> Sequence[Case]:
    if subset == "train":
        return cohort.train()
    if subset == "test" or (subset == "auto" and any(case.id in found for case in cohort.test())):
        return cohort.test()
    return cohort.cases


def label_maps(path: Path, *, what: str) -> dict[str, Path]:
    """The label maps at a path by their names without suffix, sorted by name.

    Raises:
        InputError: The path is missing, has no label map, or has two of the same name.
    """
    if path.is_file():
        return {stem(path): path}
    if not path.is_dir():
        raise InputError(
            f"{path}: no such file or folder; expected the {what}, a label map or a folder of them"
        )
    maps, _ = finder.label_maps(path)
    if not maps:
        raise InputError(
            f"{path}: no label map in it; expected the {what}, files that end in .nii.gz"
        )
    return maps


def passed_over(path: Path) -> tuple[str, ...]:
    """The files in a folder apart from label maps, one line per kind; empty if it is a file."""
    return tuple(f"{path}: {line}" for line in finder.label_maps(path)[1]) if path.is_dir() else ()


def _checked(
    pairs: tuple[Pair, ...],
    found: dict[str, Path],
    predictions: Path,
    truth: object,
    *,
    notices: tuple[str, ...],
) -> Pairs:
    if not any(pair.prediction for pair in pairs):
        some = ", ".join(path.name for path in list(found.values())[:3])
        raise InputError(
            f"{predictions}: none of {some}{' …' if len(found) > 3 else ''} has the name of a case "
            f"with truth in {truth}; expected predictions named after their cases, CASE.nii.gz"
        )
    without = set(found) - {pair.id for pair in pairs}
    return Pairs(
        pairs, tuple(sorted(found[id].name for id in without)), tuple(dict.fromkeys(notices))
    )
