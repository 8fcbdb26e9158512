"""The rows of bench/students.py as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnstudent.io.atomic import replacing


def newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last row of each candidate and time to learn, of the last row's cohort only."""
    return list(
        {
            (row["candidate"], row["minutes"]): row
            for row in rows
            if row["cohort_hash"] == rows[-1]["cohort_hash"]
        }.values()
    )


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, by time to learn, the fastest student first."""
    head = [
        "| minutes | student | organ DSC | organ NSD | s a case | of it network "
        "| steps | parameters | GFLOP |",
        "|---|" + "---|" * 8,
    ]
    body = [
        f"| {row['minutes']:g} | {row['candidate']} "
        f"| {100 * row['organ_dsc']:.1f} | {100 * row['organ_nsd']:.1f} "
        f"| {row['seconds_per_case']:.2f} | {row['network_seconds']:.2f} "
        f"| {row['steps']:,} | {row['parameters']:,} | {row['gflop']:.0f} |"
        for row in sorted(rows, key=lambda row: (row["minutes"], row["seconds_per_case"]))
    ]
    return "\n".join([*head, *body])


def frontier(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that no other beats in both seconds and DSC, the fastest first."""
    best: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["seconds_per_case"], -row["organ_dsc"])):
        if not best or row["organ_dsc"] > best[-1]["organ_dsc"]:
            best.append(row)
    return best


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw DSC against seconds a case, with a line through the frontier of each time to learn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for minutes in sorted({row["minutes"] for row in rows}):
        group = [row for row in rows if row["minutes"] == minutes]
        line = frontier(group)
        at = {row["candidate"]: (row["seconds_per_case"], 100 * row["organ_dsc"]) for row in group}
        (drawn,) = axes.plot(
            *zip(*(at[row["candidate"]] for row in line), strict=True),
            "o-",
            linewidth=1,
            label=f"{minutes:g} min",
        )
        for row in group:
            if row not in line:
                axes.plot(*at[row["candidate"]], "o", color=drawn.get_color(), alpha=0.35)
            axes.annotate(
                row["candidate"],
                at[row["candidate"]],
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.2, y=0.1)
    axes.set_xlabel(f"seconds a case (processor threads: {rows[-1]['threads']})")
    axes.set_ylabel("mean organ DSC × 100")
    axes.legend(title="training of each", fontsize=8, title_fontsize=8)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
