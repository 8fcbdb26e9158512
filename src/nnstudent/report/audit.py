"""The page of an audit: the most suspicious label maps, worst first, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

import nnstudent
from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import Failure, require
from nnstudent.inference.picture.choose import body_box
from nnstudent.io.atomic import write_text
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.labels.audit import Audit, AuditedCase
from nnstudent.labels.suspicion import Finding
from nnstudent.progress import Progress, silent
from nnstudent.report.html import page_template
from nnstudent.report.slices import View, draw, find_view
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume
from nnstudent.words import class_title

MOST = 20  # cases with pictures
_VIEWS = 3  # classes of a case that are shown
_LINES = 8  # findings of a case that are listed


@dataclass(frozen=True)
class Picture:
    """Two planes through one class of a case.

    Attributes:
        title: The class.
        planes: An axial and a coronal plane.
    """

    title: str
    planes: tuple[Image.Image, ...]


@dataclass(frozen=True)
class CasePage:
    """One case of the page.

    Attributes:
        rank: Its place, from 1.
        case: The case.
        findings: The worst of its findings.
        more: How many others it has.
        pictures: Pictures of the classes concerned; none if they cannot be drawn.
    """

    rank: int
    case: AuditedCase
    findings: tuple[Finding, ...]
    more: int
    pictures: tuple[Picture, ...] = field(default=())


def require_page() -> None:
    """Check before the work that the page can be written.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    require("jinja2", extra="report", why="the page of an audit")


def write_audit(
    path: Path,
    found: Audit,
    cohort: Cohort,
    *,
    most: int = MOST,
    title: str = "",
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Write an audit as one offline HTML file.

    Args:
        path: The file.
        found: The audit.
        cohort: Its cohort, whose files are read again for the pictures.
        most: How many cases are shown with pictures.
        title: The heading.
        progress: Called before the first and after each case that is drawn.

    Returns:
        The cases whose pictures could not be drawn.

    Raises:
        MissingExtraError: Jinja is not installed.
        OutputError: The file cannot be written.
    """
    shown = [cohort[case.id] for case in found.suspicious[:most]]
    by_id = {case.id: case for case in found.suspicious}
    drawn = for_each_case(
        shown,
        lambda case: _pictures(case, by_id[case.id].findings, cohort.taxonomy),
        files=lambda case: (case.image, case.label),
        what="pictures",
        progress=progress,
    )
    pictures = {case.id: result for case, result in drawn.results}
    pages = [
        CasePage(
            rank,
            case,
            case.findings[:_LINES],
            max(0, len(case.findings) - _LINES),
            pictures.get(case.id, ()),
        )
        for rank, case in enumerate(found.suspicious[:most], start=1)
    ]
    text = page_template("audit.html.j2", why="the page of an audit").render(
        title=title,
        version=nnstudent.__version__,
        style=files("nnstudent.report").joinpath("report.css").read_text("utf-8"),
        found=found,
        pages=pages,
        rest=found.suspicious[most:],
        class_title=class_title,
    )
    write_text(path, str(text))
    return drawn.failures


def _pictures(case: Case, findings: Sequence[Finding], taxonomy: Taxonomy) -> tuple[Picture, ...]:
    """Pictures of the classes with the worst findings."""
    image = read_image(case.image).reoriented()
    labels = read_labels(case.label or Path()).reoriented()
    box = body_box(image, around=None)
    image, labels = image.cropped(box), labels.cropped(box)
    names = list(dict.fromkeys(finding.name for finding in findings))[:_VIEWS]
    return tuple(
        Picture(
            class_title(name),
            tuple(
                draw(image, labels, view=view, taxonomy=taxonomy, longest=420)
                for view in _views(labels, taxonomy[name].id)
            ),
        )
        for name in names
    )


def _views(labels: Volume, id: int) -> tuple[View, ...]:
    """An axial and a coronal plane through a class; where it is absent, through the others."""
    own: LabelArray = np.where(labels.array == id, labels.array, np.uint8(0))
    target = Volume(own, labels.grid) if own.any() else labels
    return tuple(find_view(target, name) for name in ("axial", "coronal"))
