"""What the report says, as plain rows that the template lays out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nnstudent.report.load import ORIGINS, Method, Run
from nnstudent.taxonomy import LabelClass, Taxonomy

_MANY = 60  # cases that are listed one by one


def words(name: str) -> str:
    """A class name as it is read."""
    return name.replace("_", " ")


def percent(value: float | None, *, digits: int = 1) -> str:
    """A score from 0 to 1 as percent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def signed(value: float | None, *, digits: int = 1) -> str:
    """A difference of two scores in percent points, with its sign."""
    if value is None:
        return "–"
    text = f"{100 * value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(mb: float | None) -> str:
    """MiB, or GiB where there are many."""
    if not mb:
        return "–"
    return f"{mb:.0f} MiB" if mb < 1024 else f"{mb / 1024:.1f} GiB"


@dataclass(frozen=True)
class ScoreRow:
    """A line of the score table: a class or group, a cell a method, the change, and the largest n of its cells."""

    title: str
    color: str | None
    cells: Sequence[Mapping[str, str]]
    change: Mapping[str, str]
    n: int
    group: bool


@dataclass(frozen=True)
class ScoreTable:
    """Scores by class; ``change`` says what the last but one column is, empty where there is nothing to compare."""

    rows: Sequence[ScoreRow]
    change: str


def compared(methods: Sequence[Method]) -> tuple[Method, Method, str] | None:
    """The student, what it is compared to, and what their difference is called: pseudo-labels alone, where that is known."""
    known = {method.key: method for method in methods}
    for key, title in (("baseline", "Change by pseudo-labels"), ("teacher", "Student − teachers")):
        if "student" in known and key in known:
            return known["student"], known[key], title
    return None


def scored_classes(methods: Sequence[Method], taxonomy: Taxonomy) -> list[str]:
    """Names of the classes that some method was scored on, in the table's order."""
    return [name for name in taxonomy.names if any(method.mean(name, "n") for method in methods)]


def score_table(methods: Sequence[Method], taxonomy: Taxonomy) -> ScoreTable:
    """A line a scored class, then one for organs and, where no class is itself called so, one for tumors."""
    names = scored_classes(methods, taxonomy)
    groups = [
        name
        for name in ("organs", "tumor")
        if name not in taxonomy.names and any(method.mean(name, "n") for method in methods)
    ]
    titles = {"organs": "mean of the organs", "tumor": "mean of the lesions"}
    pair = compared(methods)
    rows = []
    for name in [*names, *groups]:
        cells = [
            {
                value: percent(method.mean(name, value))
                for value in ("dsc", "dsc_sd", "nsd", "nsd_sd")
            }
            for method in methods
        ]
        change = {}
        if pair is not None:
            change = {
                value: signed(minus(pair[0].mean(name, value), pair[1].mean(name, value)))
                for value in ("dsc", "nsd")
            }
        rows.append(
            ScoreRow(
                title=titles[name] if name in groups else words(name),
                color=None if name in groups else css(taxonomy[name]),
                cells=cells,
                change=change,
                n=max(int(method.mean(name, "n") or 0) for method in methods),
                group=name in groups,
            )
        )
    return ScoreTable(rows, "" if pair is None else pair[2])


def case_rows(method: Method, taxonomy: Taxonomy) -> list[dict[str, str]]:
    """A line a case of one method: means over its organs, tumor, and the worst class; the best case first."""
    rows = []
    for case in ranked(method, taxonomy):
        known = {
            name: value for name, value in case["dsc"].items() if isinstance(value, int | float)
        }
        worst = min(known, key=lambda name: known[name]) if known else None
        lesions = method.case_mean(case, "dsc", taxonomy.lesions)
        rows.append(
            {
                "id": str(case["id"]),
                "dsc": percent(method.case_mean(case, "dsc", taxonomy.organs)),
                "nsd": percent(method.case_mean(case, "nsd", taxonomy.organs)),
                "tumor": percent(lesions),
                "worst": f"{words(worst)} {percent(known[worst])}" if worst is not None else "–",
                "note": "; ".join(str(text) for text in case.get("warnings", ())),
            }
        )
    return rows


def ranked(method: Method, taxonomy: Taxonomy) -> list[Mapping[str, Any]]:
    """The cases that have a score, by mean DSC over their organs (over all classes where no organ was scored), best first."""

    def merit(case: Mapping[str, Any]) -> float | None:
        organs = method.case_mean(case, "dsc", taxonomy.organs)
        return organs if organs is not None else method.case_mean(case, "dsc", taxonomy.names)

    scored = [(value, case) for case in method.data["cases"] if (value := merit(case)) is not None]
    return [case for _, case in sorted(scored, key=lambda pair: -pair[0])]


def cohort_facts(run: Run) -> dict[str, Any] | None:
    """Counts, who has what annotated, and what is broken."""
    if run.cohort is None:
        return None
    cohort, table = run.cohort, run.taxonomy
    profiles = Counter((frozenset(case.annotated), case.role) for case in cohort)
    kinds = sorted(
        {annotated for annotated, _ in profiles}, key=lambda kind: (-len(kind), sorted(kind))
    )
    cases = [
        {
            "id": case.id,
            "role": case.role,
            "annotated": describe(case.annotated, table),
            "declared": case.declared,
        }
        for case in cohort
    ]
    full = sum(set(table.organs) <= case.annotated for case in cohort.train())
    none = sum(not case.annotated for case in cohort.train())
    return {
        "cases": len(cohort),
        "train": len(cohort.train()),
        "test": len(cohort.test()),
        "full": full,
        "partial": len(cohort.train()) - full - none,
        "none": none,
        "profiles": [
            {
                "what": describe(kind, table),
                "train": profiles[kind, "train"],
                "test": profiles[kind, "test"],
            }
            for kind in kinds
        ],
        "classes": [
            {
                "title": words(item.name),
                "color": css(item),
                "train": sum(item.name in case.annotated for case in cohort.train()),
                "test": sum(item.name in case.annotated for case in cohort.test()),
            }
            for item in table
        ],
        "listed": cases[:_MANY],
        "unlisted": max(len(cases) - _MANY, 0),
        "warned": [{"id": case.id, "warnings": case.warnings} for case in cohort if case.warnings],
        "broken": [{"id": failure.case, "reason": failure.reason} for failure in cohort.broken],
    }


def describe(annotated: frozenset[str], table: Taxonomy) -> str:
    """What is annotated, in few words."""
    organs, lesions = (
        [name for name in table.organs if name in annotated],
        [name for name in table.lesions if name in annotated],
    )
    lacking = [name for name in table.organs if name not in annotated]
    if not organs and not lesions:
        return "nothing"
    if not lacking:
        text = f"all {len(organs)} organs" if len(organs) > 1 else words(organs[0])
    elif organs and len(lacking) <= 3:
        text = f"all organs but {', '.join(map(words, lacking))}"
    else:
        text = ", ".join(map(words, organs))
    return " and ".join(part for part in (text, ", ".join(map(words, lesions))) if part)


def ledger_facts(run: Run) -> dict[str, Any] | None:
    """Counts by class and origin, and the reasons by how often they were given."""
    if run.ledger is None:
        return None
    ledger, table = run.ledger, run.taxonomy
    order = [name for name in table.names if name in ledger.by_class] + sorted(
        set(ledger.by_class) - set(table.names)
    )
    rows = []
    for name in order:
        counts = {origin: int(ledger.by_class[name].get(origin, 0)) for origin in ORIGINS}
        whole = sum(ledger.by_class[name].values()) or 1
        shares = {origin: f"{100 * count / whole:.2f}" for origin, count in counts.items()}
        rows.append(
            {
                "title": words(name),
                "color": css(table[name]) if name in table.names else None,
                "counts": counts,
                "shares": shares,
            }
        )
    reasons = [
        {"origin": origin, "why": why, "count": count}
        for origin in (*ORIGINS, *sorted(set(ledger.reasons) - set(ORIGINS)))
        for why, count in ledger.reasons.get(origin, Counter()).most_common(8)
        if why
    ]
    cases = {origin: ledger.cases.get(origin, 0) for origin in ORIGINS}
    return {"rows": rows, "reasons": reasons, "cases": cases, "round": ledger.round}


def stage_rows(run: Run) -> list[dict[str, Any]]:
    """A line a stage, with the shares of time and memory that its bars show."""
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
        if row.name != "report"  # which is being made
    ]


def segmenting(run: Run) -> dict[str, str] | None:
    """Time that the student took for a test case, from the records beside its predictions."""
    totals = [
        seconds["total"]
        for seconds in run.segmenting
        if isinstance(seconds.get("total"), int | float)
    ]
    if not totals:
        return None
    return {
        "n": str(len(totals)),
        "median": duration(median(totals)),
        "longest": duration(max(totals)),
    }


def headline(run: Run) -> list[dict[str, str]]:
    """The few figures that one looks for first."""
    tiles = []
    student, pair = run.method("student"), compared(run.methods)
    if student is not None:
        for value in ("dsc", "nsd"):
            n = student.mean("organs", "n")
            note = f"student, mean of the organs, {n or 0:.0f} case{'s' if n != 1 else ''}"
            tiles.append(
                {
                    "value": percent(student.mean("organs", value)),
                    "unit": "%",
                    "what": value.upper(),
                    "note": note,
                }
            )
        if student.mean("tumor", "n"):
            note = f"{student.mean('tumor', 'n'):.0f} cases"
            tiles.append(
                {
                    "value": percent(student.mean("tumor", "dsc")),
                    "unit": "%",
                    "what": "DSC of tumors",
                    "note": note,
                }
            )
        if pair is not None:
            change = minus(pair[0].mean("organs", "dsc"), pair[1].mean("organs", "dsc"))
            note = (
                "same network with and without pseudo-labels"
                if pair[1].key == "baseline"
                else "student minus teachers"
            )
            tiles.append(
                {"value": signed(change), "unit": "points", "what": "DSC of organs", "note": note}
            )
    quick = segmenting(run)
    if quick is not None:
        tiles.append(
            {
                "value": quick["median"],
                "unit": "",
                "what": "a scan",
                "note": "one test case"
                if quick["n"] == "1"
                else f"median over {quick['n']} test cases",
            }
        )
    spent = sum(row.seconds or 0 for row in run.stages)
    if spent:
        tiles.append(
            {
                "value": duration(spent),
                "unit": "",
                "what": "all stages",
                "note": "from scans to scores",
            }
        )
    return tiles


def css(item: LabelClass) -> str:
    """The class's color for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*item.color)


def minus(one: float | None, other: float | None) -> float | None:
    """Their difference, None where one is not known."""
    return None if one is None or other is None else one - other
