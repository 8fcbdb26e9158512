"""Which prediction is compared to which truth, and which classes of it somebody looked for."""

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

Which = Literal["auto", "test", "train", "all"]


@dataclass(frozen=True)
class Pair:
    """A case to score.

    Attributes:
        id: The case.
        prediction: Its label map, None where it is missing.
        truth: The label map that it is compared to.
        classes: Names of the classes to score, in the table's order.
    """

    id: str
    prediction: Path | None
    truth: Path
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """The cases to score, the names of the predictions that no truth belongs to, and what was passed over, a line each."""

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
    """Pair label maps with label maps of the same name; a file with a file whatever their names.

    Args:
        predictions: A label map or a folder of them.
        truth: The same.
        taxonomy: The label table.
        classes: Score only these; None for all of the table.
        annotation: A cohort that says what the cases of these names have annotated; None: all classes of the table. Cases
            that it does not have are not scored.

    Raises:
        InputError: A path is missing, a folder has no label map, nothing fits together, or a class is not in the table.
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
    which: Which = "auto",
) -> Pairs:
    """Pair label maps with the cases of a cohort; only what a case has annotated is scored.

    Args:
        predictions: A label map or a folder of them, named as the cases.
        cohort: The cases and their truth.
        classes: Score only these of the annotated; None for all.
        which: Which cases; ``auto`` is the test cases if one of them was predicted, else all that have truth.

    Raises:
        InputError: No prediction is there, none belongs to a case with truth, or a class is not in the table.
    """
    wanted = cohort.taxonomy.names if classes is None else cohort.taxonomy.sorted(classes)
    found = label_maps(predictions, what="predictions")
    cases = [
        case for case in _chosen(cohort, which, found) if case.label is not None and case.annotated
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


def _chosen(cohort: Cohort, which: Which, found: dict[str, Path]) -> Sequence[Case]:
    if which == "train":
        return cohort.train()
    if which == "test" or (which == "auto" and any(case.id in found for case in cohort.test())):
        return cohort.test()
    return cohort.cases


def label_maps(place: Path, *, what: str) -> dict[str, Path]:
    """The label maps at a place by their names without suffix, in the order of these.

    Raises:
        InputError: It is missing, has no image, or two images of one name.
    """
    if place.is_file():
        return {stem(place): place}
    if not place.is_dir():
        raise InputError(
            f"{place}: no such file or folder; expected the {what}, a label map or a folder of them"
        )
    maps, _ = finder.label_maps(place)
    if not maps:
        raise InputError(
            f"{place}: no label map in it; expected the {what}, files that end in .nii.gz"
        )
    return maps


def passed_over(place: Path) -> tuple[str, ...]:
    """What of a folder of label maps is none, a line a kind; nothing where one file was given."""
    return (
        tuple(f"{place}: {line}" for line in finder.label_maps(place)[1]) if place.is_dir() else ()
    )


def _checked(
    pairs: tuple[Pair, ...],
    found: dict[str, Path],
    predictions: Path,
    truth: object,
    *,
    notices: tuple[str, ...],
) -> Pairs:
    if not any(pair.prediction for pair in pairs):
        raise InputError(
            f"{predictions}: none of {', '.join(path.name for path in list(found.values())[:3])}{' …' if len(found) > 3 else ''} is named "
            f"as a case with truth in {truth}; a prediction has the name of its case, CASE.nii.gz"
        )
    without = set(found) - {pair.id for pair in pairs}
    return Pairs(
        pairs, tuple(sorted(found[id].name for id in without)), tuple(dict.fromkeys(notices))
    )
