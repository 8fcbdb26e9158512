"""The tables of a run as Markdown and LaTeX for a paper, with the figure of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nnstudent
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing, write_text
from nnstudent.report.contact_sheet import CAPTION, draw_sheet
from nnstudent.report.context import synthetic_notice
from nnstudent.report.load import load_run
from nnstudent.report.overlays import make_overlays
from nnstudent.report.tables import Table, paper_tables

SUFFIXES = {"md": ".md", "latex": ".tex"}
# Replaced one character at a time, so that nothing is escaped twice.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "±": r"$\pm$", "×": r"$\times$", "−": r"$-$",
    "–": "--", "·": r"$\cdot$", "…": r"\dots{}",
}  # fmt: skip


def write_tables(run: Path, *, kind: str, out: Path | None = None, title: str = "") -> Path:
    """Write the tables of a run, and beside them a figure of its best and worst cases.

    Args:
        run: The run's folder.
        kind: ``md`` or ``latex``.
        out: The file; None for ``report.md`` or ``report.tex`` in the run.
        title: The heading; empty for the name of the run's folder.

    Returns:
        The file. The figure is ``<its name>-cases.png``; it is left out if no picture can be made.

    Raises:
        InputError: There is no such folder, nothing of a run in it, nothing was scored, or there is
            no such kind.
        OutputError: The file cannot be written.
    """
    if kind not in SUFFIXES:
        raise InputError(f"no format {kind!r} for tables; choose one of {', '.join(SUFFIXES)}")
    found = load_run(run)
    tables = paper_tables(found)
    if not tables:
        raise InputError(
            f"{run}: no training, no scores and no segmented case in it, so there is no table; "
            "finish it with: nnstudent run"
        )
    # The paper's figure has no median case.
    overlays = [overlay for overlay in make_overlays(found) if overlay.rank != "median"]
    problems = [f"Not readable, so not in the tables: {line}" for line in found.problems]
    lay_out = markdown if kind == "md" else latex
    target = run / f"report{SUFFIXES[kind]}" if out is None else out
    figure = target.with_name(f"{target.stem}-cases.png") if overlays else None
    if figure is not None:
        with replacing(figure) as temporary:
            temporary.write_bytes(draw_sheet(overlays, found.taxonomy))
    name = figure.name if figure else ""
    heading = title or run.resolve().name
    text = lay_out(
        tables, title=heading, notice=synthetic_notice(found), remarks=problems, figure=name
    )
    write_text(target, text)
    return target


def markdown(
    tables: Sequence[Table],
    *,
    title: str,
    notice: str = "",
    remarks: Sequence[str] = (),
    figure: str = "",
) -> str:
    """Return the tables as GitHub's Markdown.

    Args:
        tables: The tables.
        title: The page's heading.
        notice: What must be read first; empty for nothing.
        remarks: Lines at the end.
        figure: Name of the figure's file; empty for none.
    """
    parts = [f"# {_plain(title)}", f"nnStudent {nnstudent.__version__}"]
    parts += [f"**{_plain(notice)}**"] if notice else []
    for table in tables:
        side = "---" if table.words else "---:"
        lines = [table.header, ["---", *[side] * (len(table.header) - 1)], *table.rows]
        parts += [
            f"## {_plain(table.caption)}",
            *([f"As {table.like} of the paper."] if table.like else []),
            "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines),
        ]
        parts += [_plain(table.note)] if table.note else []
    if figure:
        parts += [
            "## Cases",
            "As Figure 3 of the paper.",
            f"![{CAPTION}](<{figure}>)",
            f"{CAPTION}.",
        ]
    return "\n\n".join([*parts, *map(_plain, remarks)]) + "\n"


def latex(
    tables: Sequence[Table],
    *,
    title: str,
    notice: str = "",
    remarks: Sequence[str] = (),
    figure: str = "",
) -> str:
    r"""Return the tables as LaTeX floats for ``\input``; they need booktabs and graphicx.

    Args:
        tables: The tables.
        title: The title, for a comment.
        notice: What must be read first, for a comment; empty for nothing.
        remarks: Lines for comments.
        figure: Name of the figure's file; empty for none.
    """
    comments = [
        f"{title}, nnStudent {nnstudent.__version__}",
        r"needs \usepackage{booktabs,graphicx}",
        *([notice] if notice else []),
        *remarks,
    ]
    parts = ["\n".join(f"% {' '.join(line.split())}" for line in comments)]
    for table in tables:
        means = len(table.rows) - table.groups
        caption = f"{table.caption}.{f' {table.note}' if table.note else ''}"
        lines = [
            *([f"% as {table.like} of the paper that nnStudent implements"] if table.like else []),
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{table.key}}}",
            rf"\begin{{tabular}}{{{_columns(table)}}}",
            r"\toprule",
            _row(table.header),
            r"\midrule",
            *map(_row, table.rows[:means]),
            *([r"\midrule", *map(_row, table.rows[means:])] if table.groups else []),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    if figure:
        lines = [
            "% as Figure 3 of the paper that nnStudent implements",
            r"\begin{figure}[htbp]",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{figure}}}",
            rf"\caption{{{escape(CAPTION)}.}}",
            r"\label{fig:cases}",
            r"\end{figure}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _columns(table: Table) -> str:
    """Return LaTeX's columns: figures on the right, words broken into lines."""
    number = len(table.header) - 1
    if not table.words:
        return "l" + "r" * number
    width = f"{0.66 / max(1, number):.2f}"
    return "l" + rf"p{{{width}\linewidth}}" * number


def escape(text: str) -> str:
    """Return text with the characters escaped that LaTeX treats as special."""
    parts = " ".join(text.split()).split("--")  # two hyphens of an option would become a dash
    return "-{}-".join(
        "".join(_LATEX.get(character, character) for character in part) for part in parts
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def _plain(text: str) -> str:
    """Return text that Markdown takes as it is, without column ends and tags."""
    escaped = " ".join(text.split()).replace("\\", "\\\\")
    for character in "|<>*_`[]":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
