"""The paper's tables of a run, as plain cells that HTML, Markdown and LaTeX lay out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnstudent.evaluation.statistics import compare_paired
from nnstudent.report.context import scored_classes, scored_groups
from nnstudent.report.costs import Cost, spread_out
from nnstudent.report.format import difference, percent, signed
from nnstudent.report.load import FEWEST_FOR_DEVIATION, Method, RunData
from nnstudent.report.protocols import environment_table, protocol_rows
from nnstudent.words import class_title

_MOST_SIZES = 20  # cases in the table by size, spread evenly over the sizes


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        key: Its label in LaTeX.
        caption: What it shows.
        header: Titles of the columns; the first column is words, the others are figures.
        rows: Each as long as the header.
        groups: How many of the last rows are means, set apart from the others.
        note: What a reader must know.
        like: The table of the paper that it corresponds to; empty for none.
        words: Whether all columns are words.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: int = 0
    note: str = ""
    like: str = ""
    words: bool = False


def paper_tables(run: RunData) -> list[Table]:
    """Return the tables that the run has figures for."""
    found = [
        _environment(run),
        *_protocols(run),
        _organs(run),
        _lesions(run),
        _sizes(run),
        _unlabeled(run),
    ]
    return [table for table in found if table is not None and table.rows]


def _environment(run: RunData) -> Table | None:
    if not (run.environment or run.protocols):
        return None
    header, rows = environment_table(run.environment, run.protocols)
    caption = "Environment"
    return Table("environment", caption, header, rows, like="Table 1", words=True)


def _protocols(run: RunData) -> list[Table]:
    tables = []
    teachers = [item for item in run.protocols if item.teacher]
    others = [item for item in run.protocols if not item.teacher]
    for key, caption, like, shown in (
        ("teachers", "Training protocol of the teachers", "Table 2", teachers),
        ("student", "Training protocol of the student", "Table 3", others),
    ):
        if shown:
            header = ("", *(item.title for item in shown))
            note = (
                "FLOPs: a multiplication and an addition count as two. Time: training alone, "
                "all folds."
            )
            tables.append(
                Table(key, caption, header, protocol_rows(shown), note=note, like=like, words=True)
            )
    return tables


def _main_method(run: RunData) -> Method | None:
    """Return the method that the run is about: the student, otherwise the last one there is."""
    return run.method("student") or (run.methods[-1] if run.methods else None)


def _organs(run: RunData) -> Table | None:
    method = _main_method(run)
    if method is None:
        return None
    groups = scored_groups([method], run.taxonomy)
    titles = {"organs": "Average of the organs", "tumor": "Average of the lesions"}
    rows = tuple(
        (
            titles[name] if name in groups else class_title(name).capitalize(),
            _spread(method, name=name, metric="dsc"),
            _spread(method, name=name, metric="nsd"),
            f"{method.mean(name, 'n') or 0:.0f}",
        )
        for name in [*scored_classes([method], run.taxonomy), *groups]
    )
    note = (
        "Mean ± SD over the n cases that have the class annotated; "
        f"protocol {method.data.get('protocol', 'unknown')}."
    )
    missing = len(method.data.get("missing", ()))
    if missing:
        treated = "left out" if method.data.get("common_only") else "scored 0"
        note += f" Cases without a prediction, {treated}: {missing}."
    return Table(
        "organs",
        f"Scores by class, {method.title.lower()}",
        ("Target", "DSC (%)", "NSD (%)", "n"),
        rows,
        len(groups),
        note,
        like="Table 4",
    )


def _spread(method: Method, *, name: str, metric: str) -> str:
    mean = percent(method.mean(name, metric), digits=2)
    deviation = method.deviation(name, metric)
    return mean if deviation is None else f"{mean} ± {percent(deviation, digits=2)}"


def _lesions(run: RunData) -> Table | None:
    method = _main_method(run)
    known = {} if method is None else method.data.get("lesions") or {}
    rows = []
    for name, found in known.items():
        rows += [
            (
                f"{class_title(name).capitalize()}, {_volumes(item['from_ml'], item.get('to_ml'))}",
                str(item["lesions"]),
                str(item["found"]),
                percent(item["sensitivity"]),
                str(item["false_positives"]),
                f"{item['false_positives'] / found['scans']:.2f}" if found["scans"] else "–",
            )
            for item in (*found["bins"], found | {"from_ml": None})
        ]
    header = ("Lesions", "In the truth", "Found", "Sensitivity (%)", "False positives", "Per scan")
    note = (
        "A lesion is found if a predicted one overlaps it with an IoU of at least 0.1, one to one. "
        "False positives are sorted by predicted volume."
    )
    return Table("lesions", "Lesions found, by volume", header, tuple(rows), note=note)


def _volumes(low: float | None, high: float | None) -> str:
    if low is None:
        return "all"
    return f"from {low:g} ml" if high is None else f"{low:g} to {high:g} ml"


def _sizes(run: RunData) -> Table | None:
    profiled = any(cost.profiled for cost in run.costs)
    costs = sorted(
        (cost for cost in run.costs if cost.profiled == profiled),
        key=lambda cost: (cost.voxels, cost.id),
    )
    shown = spread_out(costs, _MOST_SIZES)
    rows = tuple(
        (cost.id, _size(cost), f"{cost.seconds:.2f}", *(_memory(cost) if profiled else ()))
        for cost in shown
    )
    header: tuple[str, ...] = ("Case", "Image size", "Time (s)")
    if profiled:
        header += ("Peak RAM (MiB)", "RAM area (MiB·s)", "Peak GPU (MiB)", "GPU area (MiB·s)")
        note = (
            "Measured by nnstudent profile: one process per case, start-up and loading the model "
            "included."
        )
    else:
        note = (
            "Time as the segmenter noted it, start-up and loading the model not included. For "
            "memory, profile each case: nnstudent profile --json RUN/efficiency/CASE.json -- "
            "nnstudent segment …."
        )
    if len(shown) < len(costs):
        note += f" {len(shown)} of {len(costs)} cases, spread evenly over the sizes."
    caption = "Time and memory by image size"
    return Table("efficiency", caption, header, rows, note=note, like="Table 5")


def _size(cost: Cost) -> str:
    return "–" if cost.size is None else " × ".join(map(str, cost.size))


def _memory(cost: Cost) -> tuple[str, str, str, str]:
    peak, area = (
        "–" if value is None else f"{value:.0f}" for value in (cost.peak_rss_mb, cost.rss_area_mb_s)
    )
    if cost.gpu is None:
        return peak, area, "–", "–"
    if isinstance(cost.gpu, str):
        return peak, area, cost.gpu, cost.gpu
    return peak, area, f"{cost.gpu[0]:.0f}", f"{cost.gpu[1]:.0f}"


def _unlabeled(run: RunData) -> Table | None:
    student, baseline = run.method("student"), run.method("baseline")
    if student is None:
        return None
    networks = {
        "teacher": ("Teachers, ensemble", "labeled"),
        "baseline": ("Student's network", "labeled"),
        "student": ("Student's network", "labeled + unlabeled"),
    }
    columns = [(name, metric) for name in ("organs", "tumor") for metric in ("dsc", "nsd")]
    rows = [
        (*networks[method.key], *(percent(method.mean(*column), digits=2) for column in columns))
        for method in run.methods
        if method.key in networks
    ]
    note = (
        "The student's network was not trained on labeled scans alone. To see what unlabeled scans "
        "add: nnstudent run … --baseline."
    )
    if baseline is not None:
        gains = [difference(student.mean(*column), baseline.mean(*column)) for column in columns]
        rows.append(("Gain", "by unlabeled scans", *(signed(gain, digits=2) for gain in gains)))
        note = _paired(student, baseline, run=run)
    scores = ("Organ DSC (%)", "Organ NSD (%)", "Tumor DSC (%)", "Tumor NSD (%)")
    return Table(
        "unlabeled",
        "With and without unlabeled scans",
        ("Network", "Trained on", *scores),
        tuple(rows),
        groups=0 if baseline is None else 1,
        note=note,
        like="Table 6",
    )


def _paired(student: Method, baseline: Method, *, run: RunData) -> str:
    """Return what a paired test over the cases says of the gain in organ DSC."""
    after, before = (
        {
            case["id"]: method.case_mean(case, "dsc", names=run.taxonomy.organs)
            for case in method.data["cases"]
        }
        for method in (student, baseline)
    )
    pairs = [
        (one, other)
        for id, one in after.items()
        if one is not None and (other := before.get(id)) is not None
    ]
    if len(pairs) < FEWEST_FOR_DEVIATION:
        return "Too few cases to test the gain."
    found = compare_paired([one for one, _ in pairs], [other for _, other in pairs])
    low, high = (signed(bound, digits=2) for bound in found.interval)
    effect = ""
    if not math.isnan(found.effect):
        effect = f", rank-biserial effect {found.effect:.2f}".replace(" -", " −")
    return (
        f"Gain in organ DSC case by case: {signed(found.difference, digits=2)} points, 95 % "
        f"interval {low} to {high}; Wilcoxon signed-rank p = {found.p:.3g}{effect}, {found.n} "
        "cases. Organs and tumor: means over the classes' means."
    )
