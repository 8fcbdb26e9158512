"""Two good and two bad test cases, and the median one: truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.report.context import css, percent, ranked, words
from nnstudent.report.downsample import ReducedScan, reduce_scan
from nnstudent.report.load import Method, Run
from nnstudent.report.slices import around_organs, cut, draw, find_view, ids_in, slice_stack
from nnstudent.taxonomy import LabelClass


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
        rank: ``good``, ``median``, ``bad``, or ``only`` where there is one case.
        id: The case.
        dsc: Mean DSC of its organs, in percent, as it is written.
        panels: Its planes.
        classes: Those that the planes show.
        legend: Color, title and DSC of each of them.
        unlabeled: Titles of classes that are shown but not annotated in the truth.
        scan: The scan for the viewer; None where it was not asked for.
        stack: Axial slices from head to feet, truth beside prediction, to scroll through without a viewer; none where it has a scan.
    """

    rank: str
    id: str
    dsc: str
    panels: list[Panel]
    classes: list[LabelClass]
    legend: list[dict[str, str]]
    unlabeled: list[str]
    scan: ReducedScan | None = None
    stack: Sequence[Image.Image] = ()


def make_overlays(run: Run, *, scroll: str = "") -> list[Overlay]:
    """Pictures of the student's (else another method's) two best and two worst cases; what fails is named in ``run.problems``.

    Of five and more cases the median one is between them.

    Args:
        run: The run.
        scroll: ``scan`` for a scan of each that a viewer loads, ``stack`` for plain slices, empty for neither.
    """
    method = run.method("student") or (run.methods[-1] if run.methods else None)
    if method is None or run.cohort is None:
        return []
    cases = ranked(method, run.taxonomy)
    good = min(2, (len(cases) + 1) // 2)
    bad = min(2, len(cases) - good)
    middle = [len(cases) // 2] if len(cases) > good + bad else []
    ranks = (
        dict.fromkeys(range(good), "good")
        | dict.fromkeys(middle, "median")
        | dict.fromkeys(range(len(cases) - bad, len(cases)), "bad")
    )
    overlays: list[Overlay] = []
    for place, rank in ranks.items():
        try:
            overlays.append(
                _overlay(run, method, cases[place], "only" if len(cases) == 1 else rank, scroll)
            )
        except (NnStudentError, OSError, MemoryError) as error:
            run.problems.append(f"no picture of {cases[place]['id']}: {error}")
    return overlays


def _overlay(run: Run, method: Method, case: Mapping[str, Any], rank: str, scroll: str) -> Overlay:
    table = run.taxonomy
    known = {item.id: item for item in run.cohort or ()}
    if case["id"] not in known:
        raise InputError("not in the cohort, so that its image is not known")
    image = read_image(known[case["id"]].image).reoriented()
    truth = read_labels(_find(run, case.get("truth"), known[case["id"]].label)).reoriented()
    own = run.path / "predictions" / method.key / f"{case['id']}.nii.gz"
    prediction = read_labels(_find(run, case.get("prediction"), own)).reoriented()
    for name, labels in (("truth", truth), ("prediction", prediction)):
        image.grid.require(labels.grid, what=f"the {name}", advice="evaluate the run again")
    box = around_organs(truth if truth.array.any() else prediction)
    image, truth, prediction = (cut(volume, box) for volume in (image, truth, prediction))
    panels, shown = [], set()
    for name in ("axial", "coronal"):
        view = find_view(truth, name)
        shown |= ids_in(truth, view) | ids_in(prediction, view)
        left, right = (draw(image, labels, view, taxonomy=table) for labels in (truth, prediction))
        panels.append(Panel(name, left, right))
    items = [item for item in table if item.id in shown]
    return Overlay(
        rank=rank,
        id=str(case["id"]),
        dsc=percent(method.case_mean(case, "dsc", table.organs)),
        panels=panels,
        classes=items,
        legend=[
            {
                "color": css(item),
                "title": words(item.name),
                "dsc": percent(case["dsc"].get(item.name)),
            }
            for item in items
        ],
        unlabeled=[
            words(item.name) for item in items if item.name not in known[case["id"]].annotated
        ],
        scan=reduce_scan(image, truth, prediction) if scroll == "scan" else None,
        stack=slice_stack(image, truth, prediction, taxonomy=table) if scroll == "stack" else (),
    )


def _find(run: Run, told: Any, otherwise: Path | None) -> Path:
    """The file that the scores name, or where the run has it if that has moved."""
    places = [Path(told), run.path / told] if isinstance(told, str) else []
    for place in places:
        if place.is_file():
            return place
    if otherwise is None or not otherwise.is_file():
        raise InputError(
            f"no file {told or otherwise or 'named'}; the run's files were moved or removed"
        )
    return otherwise
