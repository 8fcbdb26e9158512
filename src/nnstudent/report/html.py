"""Renders a run into one HTML file that loads nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.errors import require
from nnstudent.io.atomic import write_text
from nnstudent.report.contact_sheet import case_heading
from nnstudent.report.context import (
    case_rows,
    cohort_facts,
    headline,
    ledger_facts,
    score_table,
    scored_classes,
    segment_times,
    stage_rows,
    synthetic_notice,
)
from nnstudent.report.embed import find_viewer, viewer_classes, viewer_scans
from nnstudent.report.figures import Plot, plot_curves, plot_scores
from nnstudent.report.load import Curve, RunData, load_run
from nnstudent.report.overlays import make_overlays
from nnstudent.report.previews import make_previews
from nnstudent.report.quality import quality_section
from nnstudent.report.slices import jpeg
from nnstudent.report.tables import paper_tables
from nnstudent.words import count


def write_report(run: Path, *, out: Path | None = None, title: str = "") -> Path:
    """Write what a run did and found into one offline HTML file.

    A part of the run that is missing is left out; one that is broken is named at the end.

    Args:
        run: The run's folder.
        out: The file; None for ``report.html`` in the run.
        title: The heading; empty for the name of the run's folder.

    Returns:
        The file.

    Raises:
        InputError: There is no such folder, or nothing of a run in it.
        MissingExtraError: Jinja or matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    template = page_template("report.html.j2")
    found = load_run(run)
    viewer = find_viewer()
    overlays = make_overlays(found, scroll="stack" if viewer is None else "scan")
    text = template.render(
        run=found,
        title=title or run.resolve().name,
        version=nnstudent.__version__,
        style=files("nnstudent.report").joinpath("report.css").read_text("utf-8"),
        headline=headline(found),
        cohort=cohort_facts(found),
        stages=stage_rows(found),
        scores=score_table(found.methods, found.taxonomy),
        whole=score_table(found.whole, found.taxonomy),
        scores_plot=_scores_plot(found),
        cases=[(method, case_rows(method, found.taxonomy)) for method in found.methods],
        overlays=overlays,
        previews=make_previews(found),
        synthetic=synthetic_notice(found),
        viewer=viewer,
        viewer_classes=viewer_classes(found.taxonomy),
        viewer_scans=viewer_scans(overlays),
        trainings=_trainings(found.curves),
        ledger=ledger_facts(found),
        quality=quality_section(found.quality, found.taxonomy),
        segment_times=segment_times(found),
        tables=paper_tables(found),
    )
    target = run / "report.html" if out is None else out
    write_text(target, str(text))
    return target


def page_template(name: str, *, why: str = "the report") -> Any:
    """Return a template of this package.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    jinja2 = require("jinja2", extra="report", why=why)
    # Read as text, because the package may lie in an archive, where Jinja's loaders do not look.
    text = files("nnstudent.report").joinpath(name).read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "data": _data_address,
        "jpeg": jpeg,
        "heading": case_heading,
        "count": lambda number, noun: count(number, noun),
    }
    return environment.from_string(text)


def _scores_plot(run: RunData) -> Plot | None:
    names = scored_classes(run.methods, run.taxonomy)
    return plot_scores(run.methods, names) if names else None


def _trainings(curves: Sequence[Curve]) -> list[tuple[str, Plot]]:
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.group, []).append(curve)
    return [(group, plot_curves(group, members)) for group, members in groups.items()]


def _data_address(content: bytes, kind: str) -> str:
    """Return a ``data:`` address that holds the content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
