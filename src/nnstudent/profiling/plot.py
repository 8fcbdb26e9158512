"""Plots of profiles: memory over time, with FLARE's tolerances."""

from __future__ import annotations

from pathlib import Path

from nnstudent.errors import InputError, require
from nnstudent.io.atomic import replacing
from nnstudent.profiling.profile import GPU_MB, SECONDS, Profile

SUFFIXES = (".svg", ".png", ".pdf")


def check_plot(path: Path) -> None:
    """Check that a plot can be drawn, before the command runs.

    Raises:
        InputError: The suffix is not that of a supported format.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: a plot is written as {', '.join(SUFFIXES)}; "
            "give the file one of these suffixes"
        )
    require("matplotlib", extra="report", why="the plot")


def write_plot(measured: Profile, path: Path) -> None:
    """Draw memory over time.

    Args:
        measured: The profile.
        path: The file, ``.svg``, ``.png`` or ``.pdf``.

    Raises:
        InputError: The suffix is not that of a supported format.
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    check_plot(path)
    figure = require("matplotlib.figure", extra="report", why="the plot").Figure(
        figsize=(7.2, 3.6), layout="constrained"
    )
    axes = figure.add_subplot()
    last = measured.samples[-1:]  # holds until the command ended, as it does in the area
    times = [
        *(sample.seconds for sample in measured.samples),
        *([measured.wall_seconds] * len(last)),
    ]
    rss = [sample.rss_mb for sample in (*measured.samples, *last)]
    axes.fill_between(times, rss, step="post", color="#3b6ea8", alpha=0.25, linewidth=0)
    axes.step(
        times, rss, where="post", color="#3b6ea8", label="resident memory of the process tree"
    )
    for name, color, label in (
        ("pss_mb", "#7a7a7a", "proportional set size"),
        ("gpu_mb", "#b2552b", f"GPU memory ({measured.gpu})"),
    ):
        known = [
            (sample.seconds, getattr(sample, name))
            for sample in measured.samples
            if getattr(sample, name) is not None
        ]
        if known:
            axes.plot(*zip(*known, strict=True), color=color, linewidth=1, label=label)
    axes.axvline(
        measured.wall_seconds,
        color="black",
        linewidth=0.8,
        linestyle=":",
        label=f"ended at {measured.wall_seconds:.1f} s",
    )
    if measured.wall_seconds > SECONDS / 2:
        axes.axvline(
            SECONDS,
            color="#a02c2c",
            linewidth=0.8,
            linestyle="--",
            label=f"FLARE23 tolerates {SECONDS:g} s",
        )
    if measured.peak_gpu_mb is not None and measured.peak_gpu_mb > GPU_MB / 2:
        axes.axhline(
            GPU_MB,
            color="#a02c2c",
            linewidth=0.8,
            linestyle="-.",
            label=f"FLARE23 tolerates {GPU_MB:g} MiB on the GPU",
        )
    axes.set(xlabel="seconds", ylabel="MiB", xlim=(0, None), ylim=(0, None))
    axes.set_title(
        f"peak {measured.peak_rss_mb:.0f} MiB, area {measured.rss_area_mb_s:.0f} MiB·s; "
        f"GPU: {measured.gpu or measured.gpu_missing}",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower center")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
