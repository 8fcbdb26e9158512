"""The paper's tables of a run, as plain cells that HTML, Markdown and LaTeX lay out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnstudent.evaluation.statistics import compare_paired
from nnstudent.report.context import percent, scored_classes, signed, words
from nnstudent.report.costs import Cost, spread_out
from nnstudent.report.load import Method, Run

_MANY = 20  # cases of the table by size; of more, a choice evenly over the sizes


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        key: What it is, as a label in LaTeX.
        caption: What it shows.
        header: One a column; the first column is words, the others are figures.
        rows: As long as the header.
        groups: How many of the last rows are means, apart from the others.
        note: What a reader must know.
        like: The table of the paper that it is like; empty for none.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    groups: int = 0
    note: str = ""
    like: str = ""


def paper_tables(run: Run) -> list[Table]:
    """Those of the tables that the run has figures for."""
    found = [_organs(run), _lesions(run), _sizes(run), _unlabeled(run)]
    return [table for table in found if table is not None and table.rows]


def _main(run: Run) -> Method | None:
    """The method that the run is about: the student, else what there is."""
    return run.method("student") or (run.methods[-1] if run.methods else None)


def _organs(run: Run) -> Table | None:
    method = _main(run)
    if method is None:
        return None
    classes = scored_classes([method], run.taxonomy)
    groups = [
        name
        for name in ("organs", "tumor")
        if name not in run.taxonomy.names and method.mean(name, "n")
    ]
    titles = {"organs": "Average of the organs", "tumor": "Average of the lesions"}
    rows = tuple(
        (
            titles[name] if name in groups else words(name).capitalize(),
            _spread(method, name, "dsc"),
            _spread(method, name, "nsd"),
            f"{method.mean(name, 'n') or 0:.0f}",
        )
        for name in [*classes, *groups]
    )
    note = f"Mean ± SD over the n cases that have the class annotated; protocol {method.data.get('protocol', 'unknown')}."
    missing = len(method.data.get("missing", ()))
    if missing:
        left_out = "are left out" if method.data.get("common_only") else "count 0"
        note += f" Cases without a prediction: {missing}; they {left_out}."
    header = ("Target", "DSC (%)", "NSD (%)", "n")
    return Table(
        "organs",
        f"Scores by class, {method.title.lower()}",
        header,
        rows,
        len(groups),
        note,
        like="Table 4",
    )


def _spread(method: Method, name: str, value: str) -> str:
    mean, deviation = method.mean(name, value), method.mean(name, f"{value}_sd")
    return (
        percent(mean, digits=2)
        if deviation is None
        else f"{percent(mean, digits=2)} ± {percent(deviation, digits=2)}"
    )


def _lesions(run: Run) -> Table | None:
    method = _main(run)
    known = {} if method is None else method.data.get("lesions") or {}
    rows = []
    for name, found in known.items():
        rows += [
            (
                f"{words(name).capitalize()}, {_volumes(item['from_ml'], item.get('to_ml'))}",
                str(item["lesions"]),
                str(item["found"]),
                percent(item["sensitivity"]),
                str(item["false_positives"]),
                f"{item['false_positives'] / found['scans']:.2f}" if found["scans"] else "–",
            )
            for item in (*found["bins"], found | {"from_ml": None})
        ]
    header = ("Lesions", "In the truth", "Found", "Sensitivity (%)", "False positives", "A scan")
    note = "Found: a predicted lesion overlaps with an IoU of at least 0.1, one to one. False positives are sorted by predicted volume."
    return Table("lesions", "Lesions found, by volume", header, tuple(rows), note=note)


def _volumes(low: float | None, high: float | None) -> str:
    if low is None:
        return "all"
    return f"from {low:g} ml" if high is None else f"{low:g} to {high:g} ml"


def _sizes(run: Run) -> Table | None:
    profiled = any(cost.profiled for cost in run.costs)
    costs = sorted(
        (cost for cost in run.costs if cost.profiled == profiled),
        key=lambda cost: (cost.voxels, cost.id),
    )
    shown = spread_out(costs, _MANY)
    rows = tuple(
        (cost.id, _size(cost), f"{cost.seconds:.2f}", *(_memory(cost) if profiled else ()))
        for cost in shown
    )
    header: tuple[str, ...] = ("Case", "Image size", "Time (s)")
    if profiled:
        header += ("Peak RAM (MiB)", "RAM area (MiB·s)", "Peak GPU (MiB)", "GPU area (MiB·s)")
        notes = [
            "Measured by nnstudent profile: a process a case, start-up and loading the model included."
        ]
    else:
        notes = [
            "Time is as the segmenter noted it, start-up and loading the model not included; for memory, profile each case: "
            "nnstudent profile --json RUN/efficiency/CASE.json -- nnstudent segment …."
        ]
    if len(shown) < len(costs):
        notes.append(f"{len(shown)} of {len(costs)} cases, evenly over the sizes.")
    return Table(
        "efficiency",
        "Time and memory by image size",
        header,
        rows,
        note=" ".join(notes),
        like="Table 5",
    )


def _size(cost: Cost) -> str:
    return "–" if cost.size is None else " × ".join(map(str, cost.size))


def _memory(cost: Cost) -> tuple[str, str, str, str]:
    ram = tuple(
        "–" if value is None else f"{value:.0f}" for value in (cost.peak_rss_mb, cost.rss_area_mb_s)
    )
    if cost.gpu is None:
        return ram[0], ram[1], "–", "–"
    peak, area = (
        (cost.gpu, cost.gpu)
        if isinstance(cost.gpu, str)
        else (f"{value:.0f}" for value in cost.gpu)
    )
    return ram[0], ram[1], peak, area


def _unlabeled(run: Run) -> Table | None:
    learned = {"teacher": "labeled", "baseline": "labeled", "student": "labeled + unlabeled"}
    called = {
        "teacher": "Teachers, ensemble",
        "baseline": "Student's network",
        "student": "Student's network",
    }
    values = [(name, metric) for name in ("organs", "tumor") for metric in ("dsc", "nsd")]
    rows = [
        (
            called[method.key],
            learned[method.key],
            *(percent(method.mean(*value), digits=2) for value in values),
        )
        for method in run.methods
        if method.key in learned
    ]
    student, baseline = run.method("student"), run.method("baseline")
    if student is None:
        return None
    header = (
        "Network",
        "Trained on",
        "Organ DSC (%)",
        "Organ NSD (%)",
        "Tumor DSC (%)",
        "Tumor NSD (%)",
    )
    if baseline is None:
        note = "The student's network was not trained on labeled scans alone; to see what unlabeled ones bring: nnstudent run … --baseline."
        return Table(
            "unlabeled",
            "With and without unlabeled scans",
            header,
            tuple(rows),
            note=note,
            like="Table 6",
        )
    gain = []
    for value in values:
        one, other = student.mean(*value), baseline.mean(*value)
        gain.append(signed(None if one is None or other is None else one - other, digits=2))
    rows.append(("Gain", "by unlabeled scans", *gain))
    note = _paired(student, baseline, run)
    return Table(
        "unlabeled",
        "With and without unlabeled scans",
        header,
        tuple(rows),
        groups=1,
        note=note,
        like="Table 6",
    )


def _paired(student: Method, baseline: Method, run: Run) -> str:
    """What a test over the cases says of the gain in organ DSC."""
    before = {
        case["id"]: baseline.case_mean(case, "dsc", run.taxonomy.organs)
        for case in baseline.data["cases"]
    }
    after = {
        case["id"]: student.case_mean(case, "dsc", run.taxonomy.organs)
        for case in student.data["cases"]
    }
    pairs = [
        (one, other)
        for id, one in after.items()
        if one is not None and (other := before.get(id)) is not None
    ]
    if len(pairs) < 2:
        return "Too few cases to test the gain."
    found = compare_paired([one for one, _ in pairs], [other for _, other in pairs])
    low, high = (signed(bound, digits=2) for bound in found.interval)
    effect = (
        ""
        if math.isnan(found.effect)
        else f", rank-biserial effect {found.effect:.2f}".replace("-", "−")
    )
    return (
        f"Gain in organ DSC case by case: {signed(found.difference, digits=2)} points, 95 % interval {low} to {high}; Wilcoxon signed-rank "
        f"p = {found.p:.3g}{effect}, {found.n} cases. Organs and tumor: means over the classes' means."
    )
