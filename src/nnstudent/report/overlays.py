"""The best, the median and the worst test cases in pictures: truth beside prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nnstudent.cohort.cohort import Case
from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.report.context import rank_cases
from nnstudent.report.downsample import SmallScan, downsample_scan
from nnstudent.report.format import css_color, percent
from nnstudent.report.load import Method, RunData
from nnstudent.report.slices import around_organs, cut, draw, find_view, ids_in, slice_stack
from nnstudent.taxonomy import IGNORE, LabelClass
from nnstudent.volume import Volume
from nnstudent.words import class_title


@dataclass(frozen=True)
class Panel:
    """A plane of truth and of prediction."""

    view: str
    truth: Image.Image
    prediction: Image.Image


@dataclass(frozen=True)
class Overlay:
    """A case in pictures.

    Attributes:
        rank: One of those that :func:`rank_names` gives.
        id: The case.
        dsc: Mean DSC of its organs, in percent, as text.
        panels: Its planes.
        classes: The classes that the planes show.
        legend: Color, title and DSC of each of these classes.
        unlabeled: Titles of classes that are shown but not annotated in the truth.
        scan: The scan for the viewer; None if it was not asked for.
        stack: Axial slices from head to feet, truth beside prediction, to scroll through without a
            viewer; empty if they were not asked for.
    """

    rank: str
    id: str
    dsc: str
    panels: list[Panel]
    classes: list[LabelClass]
    legend: list[dict[str, str]]
    unlabeled: list[str]
    scan: SmallScan | None = None
    stack: Sequence[Image.Image] = ()


def rank_names(count: int) -> dict[int, str]:
    """Choose cases from so many, which are in order, best first.

    Returns:
        The place of each case chosen and its rank: at most two best and two worst ones, and the
        median one of five or more.
    """
    if count == 1:
        return {0: "only"}
    best = dict(enumerate(("best", "second best")[: min(2, (count + 1) // 2)]))
    worst = ("second worst", "worst")[-min(2, count - len(best)) :] if count else ()
    middle = {count // 2: "median"} if count > len(best) + len(worst) else {}
    return best | middle | dict(zip(range(count - len(worst), count), worst, strict=True))


def make_overlays(run: RunData, *, scroll: str = "") -> list[Overlay]:
    """Draw the best, the median and the worst cases of the student, or of another method.

    A case that cannot be drawn is named in ``run.problems``.

    Args:
        run: The run.
        scroll: ``scan`` for a scan of each case, which a viewer loads; ``stack`` for plain slices;
            empty for neither.
    """
    method = run.method("student") or (run.methods[-1] if run.methods else None)
    if method is None or run.cohort is None:
        return []
    cases = rank_cases(method, run.taxonomy)
    overlays: list[Overlay] = []
    for place, rank in rank_names(len(cases)).items():
        try:
            overlays.append(_overlay(run, method, case=cases[place], rank=rank, scroll=scroll))
        except (NnStudentError, OSError, MemoryError) as error:
            run.problems.append(f"no picture of {cases[place]['id']}: {error}")
    return overlays


def _overlay(
    run: RunData, method: Method, *, case: Mapping[str, Any], rank: str, scroll: str
) -> Overlay:
    table = run.taxonomy
    known = find_case(run, case)
    image, truth, prediction = _read(run, method, case=case, known=known)
    panels, shown = [], set()
    for name in ("axial", "coronal"):
        view = find_view(truth, name)
        shown |= ids_in(truth, view) | ids_in(prediction, view)
        left, right = (
            draw(image, labels, view=view, taxonomy=table) for labels in (truth, prediction)
        )
        panels.append(Panel(name, left, right))
    items = [item for item in table if item.id in shown]
    return Overlay(
        rank=rank,
        id=str(case["id"]),
        dsc=percent(method.case_mean(case, "dsc", names=table.organs)),
        panels=panels,
        classes=items,
        legend=[
            {
                "color": css_color(item),
                "title": class_title(item.name),
                "dsc": percent(case["dsc"].get(item.name)),
            }
            for item in items
        ],
        unlabeled=[class_title(item.name) for item in items if item.name not in known.annotated],
        scan=downsample_scan(image, truth=truth, prediction=prediction)
        if scroll == "scan"
        else None,
        stack=slice_stack(image, truth=truth, prediction=prediction, taxonomy=table)
        if scroll == "stack"
        else (),
    )


def find_case(run: RunData, case: Mapping[str, Any]) -> Case:
    """Return the cohort's case of one that was scored.

    Raises:
        InputError: The cohort does not have it.
    """
    known = run.cohort.find(case["id"]) if run.cohort is not None else None
    if known is None:
        raise InputError("not in the cohort, so that its image is not known")
    return known


def prediction_file(run: RunData, method: Method, case: Mapping[str, Any]) -> Path:
    """Return the label map of a case that was scored.

    Raises:
        InputError: It is neither where it was nor in its place in the run.
    """
    own = run.path / "predictions" / method.key / f"{case['id']}.nii.gz"
    return _find(run, case.get("prediction"), otherwise=own)


def _read(
    run: RunData, method: Method, *, case: Mapping[str, Any], known: Case
) -> tuple[Volume, Volume, Volume]:
    """Read image, truth and prediction in RAS, cut to the box around the organs."""
    image = read_image(known.image).reoriented()
    truth = read_labels(_find(run, case.get("truth"), otherwise=known.label)).reoriented()
    prediction = read_labels(prediction_file(run, method, case)).reoriented()
    for name, labels in (("truth", truth), ("prediction", prediction)):
        image.grid.require(labels.grid, what=f"the {name}", advice="evaluate the run again")
    truth = Volume(np.where(truth.array == IGNORE, np.uint8(0), truth.array), truth.grid)
    box = around_organs(truth if truth.array.any() else prediction)
    return cut(image, box), cut(truth, box), cut(prediction, box)


def _find(run: RunData, recorded: Any, *, otherwise: Path | None) -> Path:
    """Return the file that the scores name, or its place in the run if that has moved."""
    places = [Path(recorded), run.path / recorded] if isinstance(recorded, str) else []
    for place in places:
        if place.is_file():
            return place
    if otherwise is None or not otherwise.is_file():
        raise InputError(
            f"no file {recorded or otherwise or 'named'}; the run's files were moved or removed"
        )
    return otherwise
