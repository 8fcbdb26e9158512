"""Render what was gathered into one HTML file that asks for nothing outside of itself."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

import nnstudent
from nnstudent.errors import require
from nnstudent.io.atomic import write_text
from nnstudent.report.contact_sheet import heading
from nnstudent.report.context import (
    case_rows,
    cohort_facts,
    headline,
    ledger_facts,
    score_table,
    scored_classes,
    segmenting,
    stage_rows,
    words,
)
from nnstudent.report.embed import find_viewer, viewer_classes, viewer_scans
from nnstudent.report.figures import Plot, plot_curves, plot_scores
from nnstudent.report.load import Curve, Run, gather
from nnstudent.report.overlays import make_overlays
from nnstudent.report.slices import jpeg
from nnstudent.report.tables import paper_tables


def write_report(run: Path, *, out: Path | None = None) -> Path:
    """Write what a run did and found into one offline HTML file.

    A part of the run that is missing is left out of the report; one that is broken is named at its end.

    Args:
        run: The run's folder.
        out: The file; None for ``report.html`` in the run.

    Returns:
        The file written.

    Raises:
        InputError: There is no such folder, or nothing of a run in it.
        MissingExtraError: Jinja or matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    jinja2 = require("jinja2", extra="report", why="the report")
    found = gather(run)
    # Loaded as text: the package may lie in an archive, where Jinja's own loaders do not look.
    room = files("nnstudent.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["data"] = _data
    environment.filters |= {"jpeg": jpeg, "heading": heading}
    template = environment.from_string(room.joinpath("report.html.j2").read_text("utf-8"))
    viewer = find_viewer()
    overlays = make_overlays(found, scroll="stack" if viewer is None else "scan")
    scores_plot = _scores_plot(found)
    text = template.render(
        run=found,
        title=run.resolve().name,
        version=nnstudent.__version__,
        style=room.joinpath("report.css").read_text("utf-8"),
        headline=headline(found),
        cohort=cohort_facts(found),
        stages=stage_rows(found),
        scores=score_table(found.methods, found.taxonomy),
        whole=score_table(found.whole, found.taxonomy),
        scores_plot=scores_plot,
        cases=[(method, case_rows(method, found.taxonomy)) for method in found.methods],
        overlays=overlays,
        viewer=viewer,
        viewer_classes=viewer_classes(found.taxonomy),
        viewer_scans=viewer_scans(overlays),
        trainings=_trainings(found.curves),
        ledger=ledger_facts(found),
        segmenting=segmenting(found),
        tables=paper_tables(found),
    )
    target = run / "report.html" if out is None else out
    write_text(target, str(text))
    return target


def _scores_plot(run: Run) -> Plot | None:
    names = scored_classes(run.methods, run.taxonomy)
    return plot_scores(run.methods, names, [words(name) for name in names]) if names else None


def _trainings(curves: list[Curve]) -> list[tuple[str, Plot, float | None]]:
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.group, []).append(curve)
    return [
        (group, plot_curves(group, members), sum(curve.seconds or 0 for curve in members) or None)
        for group, members in groups.items()
    ]


def _data(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
