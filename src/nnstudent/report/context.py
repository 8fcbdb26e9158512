"""The report's content as plain rows, which the template lays out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nnstudent.phantom.mark import is_phantom
from nnstudent.report.format import css_color, difference, duration, memory, percent, signed
from nnstudent.report.load import ORIGINS, Method, RunData
from nnstudent.taxonomy import Taxonomy
from nnstudent.words import class_title, count

_MOST_CASES = 60  # cases of the cohort that are listed one by one
_MOST_SCORED = 500  # cases whose scores are listed one by one
_MOST_SETS = 40  # sets of classes that are annotated together
_MOST_REASONS = 8  # reasons that are listed for each origin


@dataclass(frozen=True)
class ScoreRow:
    """A line of the score table.

    Attributes:
        title: The class or group.
        color: The class's color for CSS; None for a group.
        cells: For each method ``dsc``, ``dsc_sd``, ``nsd`` and ``nsd_sd`` as text.
        change: ``dsc`` and ``nsd`` of the change as text; empty if nothing is compared.
        n: The largest number of cases that a cell rests on.
        group: Whether it is the mean of several classes.
    """

    title: str
    color: str | None
    cells: Sequence[Mapping[str, str]]
    change: Mapping[str, str]
    n: int
    group: bool


@dataclass(frozen=True)
class ScoreTable:
    """Scores by class; ``change`` is the title of the change, empty if nothing is compared."""

    rows: Sequence[ScoreRow]
    change: str


def compared_methods(methods: Sequence[Method]) -> tuple[Method, Method, str] | None:
    """Return the student, the method it is compared to, and the title of their difference.

    It is compared to its network without pseudo-labels if that was trained, otherwise to the
    teachers.
    """
    known = {method.key: method for method in methods}
    for key, title in (("baseline", "Change by pseudo-labels"), ("teacher", "Student − teachers")):
        if "student" in known and key in known:
            return known["student"], known[key], title
    return None


def scored_classes(methods: Sequence[Method], taxonomy: Taxonomy) -> list[str]:
    """Return the classes that some method was scored on, in the table's order."""
    return [name for name in taxonomy.names if any(method.mean(name, "n") for method in methods)]


def scored_groups(methods: Sequence[Method], taxonomy: Taxonomy) -> list[str]:
    """Return the groups with a mean; a class that is called as a group is takes its place."""
    return [
        name
        for name in ("organs", "tumor")
        if name not in taxonomy.names and any(method.mean(name, "n") for method in methods)
    ]


def score_table(methods: Sequence[Method], taxonomy: Taxonomy) -> ScoreTable:
    """Return a line for each scored class, then one for each group."""
    groups = scored_groups(methods, taxonomy)
    titles = {"organs": "mean of the organs", "tumor": "mean of the lesions"}
    pair = compared_methods(methods)
    rows = []
    for name in [*scored_classes(methods, taxonomy), *groups]:
        change = {}
        if pair is not None:
            student, other, _ = pair
            change = {
                metric: signed(difference(student.mean(name, metric), other.mean(name, metric)))
                for metric in ("dsc", "nsd")
            }
        rows.append(
            ScoreRow(
                title=titles[name] if name in groups else class_title(name),
                color=None if name in groups else css_color(taxonomy[name]),
                cells=[_cells(method, name) for method in methods],
                change=change,
                n=max(int(method.mean(name, "n") or 0) for method in methods),
                group=name in groups,
            )
        )
    return ScoreTable(rows, "" if pair is None else pair[2])


def _cells(method: Method, name: str) -> dict[str, str]:
    cells = {}
    for metric in ("dsc", "nsd"):
        cells[metric] = percent(method.mean(name, metric))
        cells[f"{metric}_sd"] = percent(method.deviation(name, metric))
    return cells


def case_rows(method: Method, taxonomy: Taxonomy) -> list[dict[str, str]]:
    """Return a line for each case of a method, the best first: means, tumor, the worst class.

    Of more than 500 cases, the worst are returned.
    """
    rows = []
    for case in rank_cases(method, taxonomy)[-_MOST_SCORED:]:
        known = {
            name: value for name, value in case["dsc"].items() if isinstance(value, int | float)
        }
        worst = min(known, key=lambda name: known[name]) if known else None
        lesions = method.case_mean(case, "dsc", names=taxonomy.lesions)
        rows.append(
            {
                "id": str(case["id"]),
                "dsc": percent(method.case_mean(case, "dsc", names=taxonomy.organs)),
                "nsd": percent(method.case_mean(case, "nsd", names=taxonomy.organs)),
                "tumor": percent(lesions),
                "worst": "–" if worst is None else f"{class_title(worst)} {percent(known[worst])}",
                "note": "; ".join(str(text) for text in case.get("warnings", ())),
            }
        )
    return rows


def rank_cases(method: Method, taxonomy: Taxonomy) -> list[Mapping[str, Any]]:
    """Return the cases that have a score, best first, by the mean DSC of their organs.

    A case without a scored organ is ranked by all of its classes.
    """

    def merit(case: Mapping[str, Any]) -> float | None:
        organs = method.case_mean(case, "dsc", names=taxonomy.organs)
        return organs if organs is not None else method.case_mean(case, "dsc", names=taxonomy.names)

    scored = [(value, case) for case in method.data["cases"] if (value := merit(case)) is not None]
    return [case for _, case in sorted(scored, key=lambda pair: -pair[0])]


def synthetic_notice(run: RunData) -> str:
    """Return what a reader must know of a run on phantoms; empty if there is none in it."""
    cases = list(run.cohort or ())
    found = sum(is_phantom(case.image) for case in cases)
    if not found:
        return ""
    who = "Every scan" if found == len(cases) else f"{found} of {len(cases)} scans"
    return (
        f"Phantoms are not patients. {who} of this run "
        f"{'is' if found in (1, len(cases)) else 'are'} "
        "synthetic: scores on such scans show that everything works, and say nothing about how "
        "well a model segments patients."
    )


def cohort_facts(run: RunData) -> dict[str, Any] | None:
    """Return how many cases have what annotated, and which cases are odd or broken."""
    if run.cohort is None:
        return None
    cohort, table = run.cohort, run.taxonomy
    train, test = cohort.train(), cohort.test()
    full = sum(set(table.organs) <= case.annotated for case in train)
    none = sum(not case.annotated for case in train)
    profiles = Counter((frozenset(case.annotated), case.role) for case in cohort)
    kinds = sorted({kind for kind, _ in profiles}, key=lambda kind: (-len(kind), sorted(kind)))
    if len(kinds) > _MOST_SETS:  # the most frequent ones
        kinds.sort(key=lambda kind: -profiles[kind, "train"] - profiles[kind, "test"])
    cases = [
        {
            "id": case.id,
            "role": case.role,
            "annotated": describe_annotated(case.annotated, table),
            "declared": case.declared,
        }
        for case in cohort.cases[:_MOST_CASES]
    ]
    return {
        "cases": len(cohort),
        "train": len(train),
        "test": len(test),
        "full": full,
        "partial": len(train) - full - none,
        "none": none,
        "profiles": [
            {
                "title": describe_annotated(kind, table),
                "train": profiles[kind, "train"],
                "test": profiles[kind, "test"],
            }
            for kind in kinds[:_MOST_SETS]
        ],
        "more_profiles": max(len(kinds) - _MOST_SETS, 0),
        "classes": [
            {
                "title": class_title(item.name),
                "color": css_color(item),
                "train": sum(item.name in case.annotated for case in train),
                "test": sum(item.name in case.annotated for case in test),
            }
            for item in table
        ],
        "listed": cases,
        "unlisted": len(cohort) - len(cases),
        "warned": [{"id": case.id, "warnings": case.warnings} for case in cohort if case.warnings],
        "broken": [{"id": failure.case, "reason": failure.reason} for failure in cohort.broken],
    }


def describe_annotated(annotated: frozenset[str], table: Taxonomy) -> str:
    """Return what is annotated, in few words: ``all organs but spleen and tumor``."""
    organs = [name for name in table.organs if name in annotated]
    lesions = [name for name in table.lesions if name in annotated]
    missing = [name for name in table.organs if name not in annotated]
    if not organs and not lesions:
        return "nothing"
    if not missing:
        text = f"all {len(organs)} organs" if len(organs) > 1 else class_title(organs[0])
    elif organs and len(missing) <= 3:
        text = f"all organs but {', '.join(map(class_title, missing))}"
    else:
        text = ", ".join(map(class_title, organs))
    return " and ".join(part for part in (text, ", ".join(map(class_title, lesions))) if part)


def ledger_facts(run: RunData) -> dict[str, Any] | None:
    """Return how many labels of each class have which origin, and the most frequent reasons."""
    if run.ledger is None:
        return None
    ledger, table = run.ledger, run.taxonomy
    others = sorted(set(ledger.by_class) - set(table.names))
    rows = []
    for name in [*(name for name in table.names if name in ledger.by_class), *others]:
        counts = {origin: int(ledger.by_class[name].get(origin, 0)) for origin in ORIGINS}
        whole = sum(ledger.by_class[name].values()) or 1
        rows.append(
            {
                "title": class_title(name),
                "color": css_color(table[name]) if name in table.names else None,
                "counts": counts,
                "shares": {origin: f"{100 * n / whole:.2f}" for origin, n in counts.items()},
            }
        )
    reasons = [
        {"origin": origin, "why": why, "count": number}
        for origin in (*ORIGINS, *sorted(set(ledger.reasons) - set(ORIGINS)))
        for why, number in ledger.reasons.get(origin, Counter()).most_common(_MOST_REASONS)
        if why
    ]
    cases = {origin: ledger.cases.get(origin, 0) for origin in ORIGINS}
    return {"rows": rows, "reasons": reasons, "cases": cases, "round": ledger.round}


def stage_rows(run: RunData) -> list[dict[str, Any]]:
    """Return a line for each stage, with the shares of time and memory that its bars show."""
    longest = max((row.seconds or 0 for row in run.stages), default=0) or 1
    largest = max((row.peak_rss_mb or 0 for row in run.stages), default=0) or 1
    return [
        {
            "name": row.name,
            "state": row.state,
            "seconds": duration(row.seconds) if row.seconds else "–",
            "memory": memory(row.peak_rss_mb),
            "time_share": f"{100 * (row.seconds or 0) / longest:.2f}",
            "memory_share": f"{100 * (row.peak_rss_mb or 0) / largest:.2f}",
            "detail": row.detail,
            "failures": [{"id": id, "reason": reason} for id, reason in row.failures],
        }
        for row in run.stages
        if row.name != "report"  # it is being made
    ]


def segment_times(run: RunData) -> dict[str, str] | None:
    """Return the median and longest time that the student took for a test case."""
    totals = [
        seconds["total"]
        for seconds in run.segment_seconds
        if isinstance(seconds.get("total"), int | float)
    ]
    if not totals:
        return None
    return {
        "n": str(len(totals)),
        "median": duration(median(totals)),
        "longest": duration(max(totals)),
    }


def headline(run: RunData) -> list[dict[str, str]]:
    """Return the few figures that a reader looks for first."""
    tiles = _score_tiles(run)
    times = segment_times(run)
    if times is not None:
        n = times["n"]
        note = "one test case" if n == "1" else f"median over {n} test cases"
        tiles.append(_tile("time per scan", times["median"], note=note))
    spent = sum(row.seconds or 0 for row in run.stages)
    if spent:
        tiles.append(_tile("all stages", duration(spent), note="from scans to scores"))
    return tiles


def _score_tiles(run: RunData) -> list[dict[str, str]]:
    student, pair = run.method("student"), compared_methods(run.methods)
    if student is None:
        return []
    tiles = []
    cases = count(int(student.mean("organs", "n") or 0), "case")
    for metric in ("dsc", "nsd"):
        value = percent(student.mean("organs", metric))
        note = f"student, mean of the organs, {cases}"
        tiles.append(_tile(metric.upper(), value, unit="%", note=note))
    tumors = int(student.mean("tumor", "n") or 0)
    if tumors:
        value = percent(student.mean("tumor", "dsc"))
        tiles.append(_tile("DSC of tumors", value, unit="%", note=count(tumors, "case")))
    if pair is not None:
        change = difference(pair[0].mean("organs", "dsc"), pair[1].mean("organs", "dsc"))
        note = "student minus teachers"
        if pair[1].key == "baseline":
            note = "same network with and without pseudo-labels"
        tiles.append(_tile("DSC of organs", signed(change), unit="points", note=note))
    return tiles


def _tile(title: str, value: str, *, note: str, unit: str = "") -> dict[str, str]:
    return {"title": title, "value": value, "unit": unit, "note": note}
