"""The rows of bench/semisupervised.py as tables and a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common import Row
from bench.protocol import GOALS, verdict
from nnstudent.evaluation.statistics import (
    UNKNOWN,
    PairedComparison,
    bootstrap_runs,
    compare_paired,
)
from nnstudent.io.atomic import replacing, write_text
from nnstudent.types import Float64Array

METRICS = {
    "organ_dsc": "organ DSC",
    "organ_nsd": "organ NSD",
    "tumor_dsc": "tumor DSC",
    "tumor_nsd": "tumor NSD",
    "tumor_false": "false tumors",
}
TITLES = {
    "table6": "With and without unlabeled scans (the paper's Table 6)",
    "tumors": "The same with a lesion stage behind each network",
    "models": "One student for organs and tumors, or two models",
    "teacher": "The large network from complete scans only, or from all labeled ones",
    "decision": "Which label a voxel of a pseudo-label gets",
    "selection": "Selection of pseudo-labels, whole cases "
    "(the presets laptop and demo judge each organ)",
    "rounds": "Rounds of labelling, each by a large network that learned from the one before",
    "cutmix": "CutMix",
    "copy-paste": "Tumor copy-paste",
    "cascade": "A cascade for small organs",
    "distilling": "Learning from the teachers' uncertainty",
    "consistency": "A moving average of the weights",
    "uncertain": "Voxels that the teachers are not sure of",
}
# Which arms are compared, the first minus the second.
PAIRS = {
    "table6": (
        ("small+unlabeled", "small"),
        ("large+unlabeled", "large"),
        ("small+unlabeled", "large+unlabeled"),
        ("small+unlabeled", "large"),
    ),
    "tumors": (("small+unlabeled", "small"), ("large+unlabeled", "large")),
    "models": (("one student", "student and tumor model"),),
    "teacher": (("marginal loss", "complete only"),),
    "decision": (("best expected Dice", "most probable label"),),
    "selection": (("worst fifth dropped", "off"),),
    "rounds": (("2", "1"), ("3", "1")),
    "cutmix": (("half of the windows", "off"),),
    "copy-paste": (("half of the windows", "off"),),
    "cascade": (("a finer one for small organs", "one network"),),
    "distilling": (("half of the loss", "off"),),
    "consistency": (("moving average", "off"),),
    "uncertain": (("ignored", "off"),),
}
# What arms are compared by, where it is not the organs.
COMPARED = {
    "tumors": ("tumor_dsc", "tumor_nsd"),
    "models": ("organ_dsc", "tumor_dsc"),
    "copy-paste": ("organ_dsc", "tumor_dsc"),
}
LEAST = 0.031  # DSC that unlabeled scans should add to the small network
WITHIN = 0.01  # DSC that it may then be worse than the large one
BEGIN, END = (
    "<!-- semisupervised: written by bench/semisupervised.py from its rows -->",
    "<!-- semisupervised: end -->",
)


@dataclass(frozen=True)
class Page:
    """A page that is written from rows.

    Attributes:
        name: Of the page, its rows and its picture.
        title: Its heading.
        networks: What the networks are, after the patients.
        command: What makes a part of it again.
        goals: Whether the protocol's goals are judged.
    """

    name: str
    title: str
    networks: str
    command: str
    goals: bool = False


OLD = Page(
    "semisupervised",
    "What unlabeled and partly labeled scans add",
    """The large network has
2.3 million parameters and a grid of 7×6×6 mm, the small one 1.0 million and 8×7×7 mm
(`bench/semisupervised.toml`).""",
    "python -m bench.semisupervised --only table6 --seed 0",
)
PROTOCOL = Page(
    "protocol-5-results",
    "What the fifth protocol measured",
    """The networks, their grids and
their steps are those of the [protocol](protocol-5.md) (`bench/protocol.toml`).""",
    "python -m bench.semisupervised --protocol --proportion paper --only table6 --seed 12",
    goals=True,
)


def proportions(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The newest rows of each cohort, by the name of its proportion."""
    names = dict.fromkeys(row.get("proportion", "") for row in rows)
    return {
        name: newest([row for row in rows if row.get("proportion", "") == name]) for name in names
    }


def newest(rows: Sequence[Row]) -> list[Row]:
    """The last row of each arm and seed that goes with the last row of all.

    Rows of another cohort, of other recipes, or of an arm that was defined otherwise are left out.
    """
    if not rows:
        return []
    keys = ("cohort_hash", "recipe_hash", "steps")
    same = [row for row in rows if all(row[key] == rows[-1][key] for key in keys)]
    defined = {(row["experiment"], row["arm"]): row.get("arm_hash") for row in same}
    same = [row for row in same if row.get("arm_hash") == defined[row["experiment"], row["arm"]]]
    return list({(row["experiment"], row["arm"], row["seed"]): row for row in same}.values())


def difference(
    first: Sequence[Row], second: Sequence[Row], metric: str
) -> tuple[PairedComparison, int]:
    """Compare two arms, paired over test cases.

    A case's difference is its mean over the seeds that both arms have. The interval is over seeds
    and cases, both drawn with replacement; the test is over the cases.

    Returns:
        The comparison over the cases, and the number of seeds.
    """
    ours, theirs = ({row["seed"]: row["cases"] for row in rows} for rows in (first, second))
    seeds = sorted(set(ours) & set(theirs))
    cases = sorted({case for seed in seeds for case in ours[seed]})
    first_table, second_table = (
        np.array(
            [[side[seed].get(case, {}).get(metric) for case in cases] for seed in seeds], np.float64
        ).reshape(len(seeds), len(cases))
        for side in (ours, theirs)
    )
    # A case counts for an arm only with the seeds for which the other has it too.
    both = np.isnan(first_table) | np.isnan(second_table)
    first_table[both] = second_table[both] = np.nan
    interval = bootstrap_runs(np.round(first_table - second_table, 12))
    means = [[_mean(column) for column in side.T] for side in (first_table, second_table)]
    return compare_paired(*means, interval=interval), len(seeds)


def render(rows: Sequence[Row], *, goals: bool = False) -> str:
    """The tables as Markdown, for each proportion of complete scans.

    Args:
        rows: The rows.
        goals: Whether the protocol's goals are judged.
    """
    return "\n".join(
        (f"## Proportion `{name}`: {_kinds(current[-1]['counts'])}\n\n" if name else "")
        + _tables(current, goals=goals or bool(name))
        for name, current in proportions(rows).items()
    )


def choice(rows: Sequence[Row], experiment: str) -> str:
    """The arm of an experiment with the best mean of organ DSC and NSD."""
    arms = _arms(newest(rows), experiment)
    means = {
        name: [100 * float(np.mean([row[key] for row in of])) for key in ("organ_dsc", "organ_nsd")]
        for name, of in arms.items()
    }
    if not means:
        return f"{experiment}: no row yet"
    best = max(means, key=lambda name: sum(means[name]))
    return "\n".join(
        f"{name}: organ DSC {dsc:.2f} and NSD {nsd:.2f} "
        f"on {len(arms[name][0]['cases'])} other patients" + (" (chosen)" if name == best else "")
        for name, (dsc, nsd) in means.items()
    )


def _tables(current: Sequence[Row], *, goals: bool) -> str:
    parts = []
    for experiment, title in TITLES.items():
        arms = _arms(current, experiment)
        if not arms:
            continue
        rows = [row for of_arm in arms.values() for row in of_arm]
        measured = [name for name in METRICS if any(row.get(name) is not None for row in rows)]
        lines = [
            f"### {title}",
            "",
            f"| arm | {' | '.join(METRICS[name] for name in measured)} | s a case | seeds |",
            "|---|" + "---|" * (len(measured) + 2),
        ]
        for name, of_arm in arms.items():
            cells = [_cell([row.get(metric) for row in of_arm]) for metric in measured]
            seconds = np.mean([row["seconds_per_case"] for row in of_arm])
            lines.append(
                f"| {name} | {' | '.join(cells)} | {seconds:.2f} "
                f"| {', '.join(str(row['seed']) for row in of_arm)} |"
            )
        notes = [
            _comparison(first, second, metric, arms)
            for first, second in PAIRS[experiment]
            if first in arms
            and second in arms
            and {row["seed"] for row in arms[first]} & {row["seed"] for row in arms[second]}
            for metric in COMPARED.get(experiment, ("organ_dsc", "organ_nsd"))
        ]
        if goals:
            notes += _protocol_goals(arms, experiment)
        elif experiment == "table6":
            notes += _goals(arms)
        parts.append("\n".join([*lines, "", *notes, ""]) if notes else "\n".join([*lines, ""]))
    return "\n".join(parts)


def write_results(rows: Sequence[Row], path: Path, picture: Path, *, page: Page = OLD) -> None:
    """Rewrite the section of the page, at its marks or otherwise at the end, and the picture."""
    found = proportions(rows)
    current = [row for of in found.values() for row in of]
    if not current:
        return
    draw(found, picture)
    last = current[-1]
    patients = f": {_kinds(last['counts'])}" if len(found) == 1 else f" in {len(found)} proportions"
    cohorts = ", ".join(dict.fromkeys(row["cohort_hash"] for row in current))
    changes = [after - before for before, after in (row["loss"] for row in current)]
    section = f"""{BEGIN}
## {page.title}

Synthetic patients{patients}. {page.networks}
Each learned for {last["steps"]} steps with a rate that falls to zero; from the second to last tenth
of them to the last, the mean loss (cross-entropy less Dice) changed by {min(changes):+.3f} to
{max(changes):+.3f}. That is flat for this schedule, not a proof that more steps would add nothing.
Scores are × 100, mean ± standard deviation over seeds.{_of_tumors(current)}
Differences are paired over cases and seeds, with the 95 % bootstrap
interval over seeds and cases and Wilcoxon's two-sided p over cases. They show how ways of learning
compare, not how well a model works on patients. Seconds per case were measured on a machine with
other work.

![Organ DSC of each arm, one dot for each seed](../images/{picture.name})

{render(rows, goals=page.goals)}
```sh
{page.command}
```

makes one seed of the first table again. The rows, with scores by organ and case, are in
[{page.name}.json]({page.name}.json), those by case in
`{page.name}-cases.jsonl.gz` beside it.
Cohort {cohorts}, recipes {last["recipe_hash"]},
{last["machine"]}.
{END}
"""
    text = path.read_text("utf-8") if path.is_file() else f"# {page.title}\n"
    marked = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END) + "\n", flags=re.S)
    write_text(
        path,
        marked.sub(lambda _: section, text)
        if marked.search(text)
        else f"{text.rstrip()}\n\n{section}",
    )


def _kinds(counts: Mapping[str, int]) -> str:
    some = counts.get("tumor", 0) + counts.get("partial", 0)
    kinds = {
        "with all organs labeled": counts.get("full", 0),
        "with some classes": some,
        "without labels": counts.get("unlabeled", 0),
    }
    return ", ".join(
        [*(f"{n} {what}" for what, n in kinds.items()), f"{counts['test']} to test on"]
    )


def _of_tumors(rows: Sequence[Row]) -> str:
    known = [row["tumor_dsc"] for row in rows if row.get("tumor_dsc") is not None]
    if not known:
        return ""
    means = """ Tumor scores are means over the test scans
that have a tumor; the share of the others in which one was found stands beside
them."""
    if max(known) >= 0.1:
        return means
    return (
        f"{means} No arm has a tumor DSC over {100 * max(known):.1f}: "
        "nothing is to be read from these columns."
    )


def draw(rows: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the organ DSC of each proportion's arms: a dot for each seed, a line at the mean."""
    from matplotlib.figure import Figure

    arms = [
        (proportion or experiment, name, of_arm)
        for proportion, current in rows.items()
        for experiment in TITLES
        if experiment != "tumors"  # a lesion stage leaves the organs as they are
        for name, of_arm in _arms(current, experiment).items()
    ]
    figure = Figure(figsize=(7.2, 0.8 + 0.32 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, _, of_arm) in enumerate(arms):
        values = [100 * row["organ_dsc"] for row in of_arm]
        axes.plot(values, [place] * len(values), "o", color="#2a6f97", alpha=0.7)
        axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color="#012a4a", linewidth=2)
    axes.set_yticks(range(len(arms)), [f"{group}: {name}" for group, name, _ in arms])
    axes.invert_yaxis()
    axes.set_xlabel("mean organ DSC × 100")
    axes.grid(axis="x", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def _arms(rows: Sequence[Row], experiment: str) -> dict[str, list[Row]]:
    arms: dict[str, list[Row]] = {}
    for row in sorted(
        (row for row in rows if row["experiment"] == experiment), key=lambda row: row["seed"]
    ):
        arms.setdefault(row["arm"], []).append(row)
    return arms


def _comparison(first: str, second: str, metric: str, arms: Mapping[str, Sequence[Row]]) -> str:
    paired, seeds = difference(arms[first], arms[second], metric)
    low, high = (100 * bound for bound in paired.interval)
    p = "< 0.001" if paired.p < 0.001 else f"= {paired.p:.3f}"
    return (
        f"- {METRICS[metric]}, {first} minus {second}: **{100 * paired.difference:+.1f}** "
        f"({low:+.1f} to {high:+.1f}, p {p}; "
        f"{paired.n} cases, {seeds} seed{'s' * (seeds > 1)})"
    )


def _goals(arms: Mapping[str, Sequence[Row]]) -> list[str]:
    """The goals of the table, and whether they are reached."""
    lines = []
    for other, least, wanted in (("small", LEAST, "at least"), ("large", -WITHIN, "no less than")):
        if "small+unlabeled" in arms and other in arms:
            paired, _ = difference(arms["small+unlabeled"], arms[other], "organ_dsc")
            verdict = "reached" if paired.difference >= least else "missed"
            lines.append(
                f"- goal, small+unlabeled minus {other}: {wanted} {100 * least:+.1f}: **{verdict}**"
            )
    return lines


def _protocol_goals(arms: Mapping[str, Sequence[Row]], experiment: str) -> list[str]:
    """The goals of the protocol for an experiment, and whether they are reached."""
    lines = []
    for goal in (goal for goal in GOALS if goal.experiment == experiment):
        if goal.arm not in arms or (goal.minus is not None and goal.minus not in arms):
            continue
        if goal.minus is None:
            known = [row[goal.metric] for row in arms[goal.arm] if row[goal.metric] is not None]
            value, interval = float(np.mean(known)) if known else float("nan"), UNKNOWN
        else:
            paired, _ = difference(arms[goal.arm], arms[goal.minus], goal.metric)
            value, interval = paired.difference, paired.interval
        lines.append(
            f"- goal, {goal.text}: {100 * value:+.1f}, **{verdict(goal, value, interval)}**"
        )
    return lines


def _cell(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.1f}" + (f" ± {np.std(known, ddof=1):.1f}" if len(known) > 1 else "")


def _mean(values: Float64Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
