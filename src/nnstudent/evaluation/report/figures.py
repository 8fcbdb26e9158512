"""The report's plots, as SVG in a light and a dark dress."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnstudent.errors import require
from nnstudent.evaluation.report.gather import Curve, Method


@dataclass(frozen=True)
class Dress:
    """Colors of a plot: what is written, what is faint, and one color a method or curve."""

    ink: str
    faint: str
    methods: dict[str, str]
    folds: tuple[str, ...]


LIGHT = Dress(
    ink="#33404d",
    faint="#d9dfe5",
    methods={"teacher": "#8a94a0", "baseline": "#d08a2e", "student": "#0f7c86"},
    folds=("#0f7c86", "#d08a2e", "#7a5ea8", "#b4475d", "#5b8c3e"),
)
DARK = Dress(
    ink="#c3ccd5",
    faint="#39434d",
    methods={"teacher": "#8f9aa6", "baseline": "#e3a95a", "student": "#4fb9c2"},
    folds=("#4fb9c2", "#e3a95a", "#b19ad8", "#e0879a", "#96c27a"),
)


@dataclass(frozen=True)
class Plot:
    """A figure in both dresses, each an SVG file, and what it shows, in words."""

    light: bytes
    dark: bytes
    alt: str


def plot_scores(methods: Sequence[Method], names: Sequence[str], titles: Sequence[str]) -> Plot:
    """DSC and NSD of each class as dots, one color a method.

    Args:
        methods: At least one.
        names: The classes, from top to bottom.
        titles: How they are written.
    """

    def draw(figure: Any, dress: Dress) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(names))
        for axis, (value, title) in zip(axes, (("dsc", "DSC, %"), ("nsd", "NSD, %")), strict=True):
            known = {method.key: [_percent(method.mean(name, value)) for name in names] for method in methods}
            for row in rows:
                spread = [scores[row] for scores in known.values() if not math.isnan(scores[row])]
                if len(spread) > 1:
                    axis.plot([min(spread), max(spread)], [row, row], color=dress.faint, lw=3, solid_capstyle="round", zorder=1)
            for method in methods:
                axis.scatter(known[method.key], rows, s=34, color=dress.methods[method.key], label=method.title, zorder=2, clip_on=False)
            axis.set_xlim(0, 100)
            axis.set_title(title, loc="left", fontsize=10, color=dress.ink)
            axis.xaxis.grid(visible=True, color=dress.faint, lw=0.6)
            axis.set_axisbelow(True)
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(rows, titles)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods), frameon=False, labelcolor=dress.ink
        )

    listed = ", ".join(method.title for method in methods)
    return _both(draw, (9.0, 1.1 + 0.29 * len(names)), f"DSC and NSD of each class by {listed}; the same figures are in the table below")


def plot_curves(group: str, curves: Sequence[Curve]) -> Plot:
    """Losses (training solid, validation dashed) and validation Dice over the epochs, one color a fold."""

    def draw(figure: Any, dress: Dress) -> None:
        losses, dice = figure.subplots(1, 2)
        for number, curve in enumerate(curves):
            color = dress.folds[number % len(dress.folds)]
            label = f"fold {curve.fold}" if curve.fold.isdigit() else curve.fold
            for axis, values, style, name in (
                (losses, curve.train_loss, "-", label),
                (losses, curve.val_loss, "--", None),
                (dice, curve.dice, "-", None),
            ):
                ticks = np.arange(1, len(values) + 1)
                marker = "o" if len(values) == 1 else None
                axis.plot(ticks, [_nan(value) for value in values], style, color=color, lw=1.5, marker=marker, ms=3, label=name)
        losses.set_title("loss (dashed: validation)", loc="left", fontsize=10, color=dress.ink)
        dice.set_title("Dice on validation patches", loc="left", fontsize=10, color=dress.ink)
        dice.set_ylim(0, 1)
        for axis in (losses, dice):
            axis.set_xlabel("epoch", color=dress.ink)
            axis.yaxis.grid(visible=True, color=dress.faint, lw=0.6)
            axis.set_axisbelow(True)
        if len(curves) > 1:
            losses.legend(frameon=False, labelcolor=dress.ink, fontsize=8)

    return _both(draw, (9.0, 2.7), f"Loss and Dice over the epochs of {group}, {len(curves)} training{'s' if len(curves) > 1 else ''}")


def _both(draw: Any, size: tuple[float, float], alt: str) -> Plot:
    return Plot(_svg(draw, size, LIGHT), _svg(draw, size, DARK), alt)


def _svg(draw: Any, size: tuple[float, float], dress: Dress) -> bytes:
    matplotlib = require("matplotlib", extra="report", why="the report")
    figures = require("matplotlib.figure", extra="report", why="the report")
    look = {
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": dress.ink,
        "axes.edgecolor": dress.faint,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": dress.ink,
        "ytick.color": dress.ink,
        "svg.hashsalt": "nnstudent",  # the same run, the same bytes
    }
    file = io.BytesIO()
    with matplotlib.rc_context(look):
        figure = figures.Figure(figsize=size, layout="constrained", facecolor="none")
        draw(figure, dress)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return file.getvalue()


def _percent(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
