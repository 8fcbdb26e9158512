"""The report's plots, as SVG for light and for dark backgrounds."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnstudent.errors import require
from nnstudent.report.load import Curve, Method
from nnstudent.words import class_title, count

# Each color on light and on dark background. A plot is drawn once, in the light colors, which must
# therefore all differ.
INK, FAINT = ("#33404d", "#c3ccd5"), ("#d9dfe5", "#39434d")
METHODS = {
    "teacher": ("#8a94a0", "#8f9aa6"),
    "baseline": ("#d08a2e", "#e3a95a"),
    "student": ("#0f7c86", "#4fb9c2"),
}
FOLDS = (
    METHODS["student"],
    METHODS["baseline"],
    ("#7a5ea8", "#b19ad8"),
    ("#b4475d", "#e0879a"),
    ("#5b8c3e", "#96c27a"),
)


@dataclass(frozen=True)
class Plot:
    """A figure for light and for dark backgrounds, each an SVG file, and a description."""

    light: bytes
    dark: bytes
    alt: str


def plot_scores(methods: Sequence[Method], names: Sequence[str]) -> Plot:
    """Plot DSC and NSD of each class as dots, one color per method.

    Args:
        methods: At least one.
        names: The classes, from top to bottom.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(names))
        for axis, (value, title) in zip(axes, (("dsc", "DSC, %"), ("nsd", "NSD, %")), strict=True):
            known = {
                method.key: [_percent(method.mean(name, value)) for name in names]
                for method in methods
            }
            for row in rows:
                spread = [scores[row] for scores in known.values() if not math.isnan(scores[row])]
                if len(spread) > 1:
                    axis.plot(
                        [min(spread), max(spread)],
                        [row, row],
                        color=FAINT[0],
                        lw=3,
                        solid_capstyle="round",
                        zorder=1,
                    )
            for method in methods:
                axis.scatter(
                    known[method.key],
                    rows,
                    s=34,
                    color=METHODS[method.key][0],
                    label=method.title,
                    zorder=2,
                    clip_on=False,
                )
            axis.set_xlim(-2, 102)  # so that dots at the ends are whole
            axis.set_xticks(range(0, 101, 20))
            axis.set_title(title, loc="left", fontsize=10, color=INK[0])
            axis.xaxis.grid(visible=True, color=FAINT[0], lw=0.6)
            axis.set_axisbelow(True)
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(rows, [class_title(name) for name in names])
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(methods),
            frameon=False,
            labelcolor=INK[0],
        )

    listed = ", ".join(method.title for method in methods)
    return _both(
        draw,
        size=(9.0, 1.1 + 0.29 * len(names)),
        alt=f"DSC and NSD of each class by {listed}; the same figures are in the table below",
    )


def plot_curves(group: str, curves: Sequence[Curve]) -> Plot:
    """Plot losses and validation Dice over the epochs, one color per fold.

    Args:
        group: The model, for the description.
        curves: Its trainings; their training loss is solid and their validation loss dashed.
    """

    def draw(figure: Any) -> None:
        losses, dice = figure.subplots(1, 2)
        for number, curve in enumerate(curves):
            color = FOLDS[number % len(FOLDS)][0]
            label = f"fold {curve.fold}" if curve.fold.isdigit() else curve.fold
            for axis, values, style, name in (
                (losses, curve.train_loss, "-", label),
                (losses, curve.val_loss, "--", None),
                (dice, curve.dice, "-", None),
            ):
                ticks = np.arange(1, len(values) + 1)
                marker = "o" if len(values) == 1 else None
                axis.plot(
                    ticks,
                    [_nan(value) for value in values],
                    style,
                    color=color,
                    lw=1.5,
                    marker=marker,
                    ms=3,
                    label=name,
                )
        losses.set_title("loss (dashed: validation)", loc="left", fontsize=10, color=INK[0])
        dice.set_title("Dice on validation patches", loc="left", fontsize=10, color=INK[0])
        dice.set_ylim(0, 1)
        for axis in (losses, dice):
            axis.set_xlabel("epoch", color=INK[0])
            axis.yaxis.grid(visible=True, color=FAINT[0], lw=0.6)
            axis.set_axisbelow(True)
        if len(curves) > 1:
            losses.legend(frameon=False, labelcolor=INK[0], fontsize=8)

    trainings = count(len(curves), "training")
    return _both(
        draw, size=(9.0, 2.7), alt=f"Loss and Dice over the epochs of {group}, {trainings}"
    )


def _both(draw: Callable[[Any], None], *, size: tuple[float, float], alt: str) -> Plot:
    matplotlib = require("matplotlib", extra="report", why="the report")
    figures = require("matplotlib.figure", extra="report", why="the report")
    style = {
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK[0],
        "axes.edgecolor": FAINT[0],
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK[0],
        "ytick.color": INK[0],
        "svg.hashsalt": "nnstudent",  # the same run gives the same bytes
    }
    file = io.BytesIO()
    with matplotlib.rc_context(style):
        figure = figures.Figure(figsize=size, layout="constrained", facecolor="none")
        draw(figure)
        figure.savefig(
            file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    light = dark = file.getvalue()
    for on_light, on_dark in (INK, FAINT, *METHODS.values(), *FOLDS):
        dark = dark.replace(on_light.encode(), on_dark.encode())
    return Plot(light, dark, alt)


def _percent(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
