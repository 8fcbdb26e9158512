"""The best, the median and the worst test case: truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import GeometryError, InputError, NnStudentError
from nnstudent.evaluation.report.content import css, percent, ranked, words
from nnstudent.evaluation.report.gather import Method, Run
from nnstudent.evaluation.report.slices import around_organs, cut, draw, find_view, ids_in
from nnstudent.io.nifti import read_image, read_labels


@dataclass(frozen=True)
class Panel:
    """A plane of truth and of prediction, each a JPEG."""

    view: str
    truth: bytes
    prediction: bytes


@dataclass(frozen=True)
class Overlay:
    """A case in pictures.

    Attributes:
        rank: ``best``, ``median`` or ``worst``.
        id: The case.
        dsc: Mean DSC of its organs, in percent, as it is written.
        panels: Its planes.
        legend: Color, title and DSC of each class shown.
        unlabeled: Titles of classes that are shown but not annotated in the truth.
    """

    rank: str
    id: str
    dsc: str
    panels: list[Panel]
    legend: list[dict[str, str]]
    unlabeled: list[str]


def make_overlays(run: Run) -> list[Overlay]:
    """Pictures of the student's (else another method's) best, median and worst case; what fails is named in ``run.problems``."""
    method = run.method("student") or (run.methods[-1] if run.methods else None)
    if method is None or run.cohort is None:
        return []
    cases = ranked(method, run.taxonomy)
    places = {"best": 0, "median": (len(cases) - 1) // 2, "worst": len(cases) - 1}
    overlays: list[Overlay] = []
    seen: set[int] = set()
    for rank, place in places.items():
        if 0 <= place < len(cases) and place not in seen:
            seen.add(place)
            try:
                overlays.append(_overlay(run, method, cases[place], "only" if len(cases) == 1 else rank))
            except (NnStudentError, OSError, MemoryError) as error:
                run.problems.append(f"no picture of {cases[place]['id']}: {error}")
    return overlays


def _overlay(run: Run, method: Method, case: Mapping[str, Any], rank: str) -> Overlay:
    table = run.taxonomy
    known = {item.id: item for item in run.cohort or ()}
    if case["id"] not in known:
        raise InputError("not in the cohort, so that its image is not known")
    image = read_image(known[case["id"]].image).reoriented()
    truth = read_labels(_find(run, case.get("truth"), known[case["id"]].label)).reoriented()
    own = run.path / "predictions" / method.key / f"{case['id']}.nii.gz"
    prediction = read_labels(_find(run, case.get("prediction"), own)).reoriented()
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if not labels.grid.matches(image.grid):
            raise GeometryError(f"its {name} ({labels.grid}) is on another grid than its image ({image.grid})")
    box = around_organs(truth if truth.array.any() else prediction)
    image, truth, prediction = (cut(volume, box) for volume in (image, truth, prediction))
    panels, shown = [], set()
    for name in ("axial", "coronal"):
        view = find_view(truth, name)
        shown |= ids_in(truth, view) | ids_in(prediction, view)
        left, right = (draw(image, labels, view, taxonomy=table) for labels in (truth, prediction))
        panels.append(Panel(name, left, right))
    items = [item for item in table if item.id in shown]
    legend = [{"color": css(item), "title": words(item.name), "dsc": percent(case["dsc"].get(item.name))} for item in items]
    unlabeled = [words(item.name) for item in items if item.name not in known[case["id"]].annotated]
    mean = method.case_mean(case, "dsc", table.organs)
    return Overlay(rank, str(case["id"]), percent(mean), panels, legend, unlabeled)


def _find(run: Run, told: Any, otherwise: Path | None) -> Path:
    """The file that the scores name, or where the run has it if that has moved."""
    places = [Path(told), run.path / told] if isinstance(told, str) else []
    for place in places:
        if place.is_file():
            return place
    if otherwise is None or not otherwise.is_file():
        raise InputError(f"no file {told or otherwise or 'named'}; the run's files were moved or removed")
    return otherwise
