"""The tables of a run as Markdown and as LaTeX, to be taken into a paper, with the figure of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nnstudent
from nnstudent.errors import InputError
from nnstudent.io.atomic import replacing, write_text
from nnstudent.report.contact_sheet import CAPTION, draw_sheet
from nnstudent.report.load import gather
from nnstudent.report.overlays import make_overlays
from nnstudent.report.tables import Table, paper_tables

SUFFIXES = {"md": ".md", "latex": ".tex"}
# One character at a time, so that nothing is escaped twice.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "–": "--", "·": r"$\cdot$", "…": r"\dots{}",
}  # fmt: skip


def write_tables(run: Path, *, kind: str, out: Path | None = None) -> Path:
    """Write the tables of a run, and beside them the figure of its two best and two worst cases, which they name.

    Args:
        run: The run's folder.
        kind: ``md`` or ``latex``.
        out: The file; None for ``report.md`` or ``report.tex`` in the run.

    Returns:
        The file written; the figure is ``<its name>-cases.png``, and is left out where no picture can be made.

    Raises:
        InputError: There is no such folder, nothing of a run in it, nothing that was scored, or no such kind.
        OutputError: The file cannot be written.
    """
    if kind not in SUFFIXES:
        raise InputError(f"no format {kind!r} for tables; choose one of {', '.join(SUFFIXES)}")
    found = gather(run)
    tables = paper_tables(found)
    if not tables:
        raise InputError(
            f"{run}: no scores and no segmented case in it, so there is no table; let nnstudent run go on to its end"
        )
    overlays = [
        overlay for overlay in make_overlays(found) if overlay.rank != "median"
    ]  # as the paper's figure has it
    problems = [f"Not readable, and so not in the tables: {line}" for line in found.problems]
    lay_out = markdown if kind == "md" else latex
    target = run / f"report{SUFFIXES[kind]}" if out is None else out
    figure = target.with_name(f"{target.stem}-cases.png") if overlays else None
    if figure is not None:
        with replacing(figure) as temporary:
            temporary.write_bytes(draw_sheet(overlays, found.taxonomy))
    write_text(
        target,
        lay_out(
            tables, title=run.resolve().name, remarks=problems, figure=figure.name if figure else ""
        ),
    )
    return target


def markdown(
    tables: Sequence[Table], *, title: str, remarks: Sequence[str] = (), figure: str = ""
) -> str:
    """The tables as GitHub's Markdown, and the figure, a file beside, where there is one."""
    parts = [f"# {_plain(title)}", f"nnStudent {nnstudent.__version__}"]
    for table in tables:
        lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
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
    tables: Sequence[Table], *, title: str, remarks: Sequence[str] = (), figure: str = ""
) -> str:
    r"""The tables as LaTeX floats, to be taken in by ``\input``, and the figure, a file beside; they need booktabs and graphicx."""
    comments = [
        f"{title}, nnStudent {nnstudent.__version__}",
        r"needs \usepackage{booktabs,graphicx}",
        *remarks,
    ]
    parts = ["\n".join(f"% {' '.join(line.split())}" for line in comments)]
    for table in tables:
        means = len(table.rows) - table.groups
        lines = [
            *([f"% as {table.like} of the paper that nnStudent carries out"] if table.like else []),
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(table.caption)}.{' ' + escape(table.note) if table.note else ''}}}",
            rf"\label{{tab:{table.key}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
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
            "% as Figure 3 of the paper that nnStudent carries out",
            r"\begin{figure}[htbp]",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{figure}}}",
            rf"\caption{{{escape(CAPTION)}.}}",
            r"\label{fig:cases}",
            r"\end{figure}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX shows it."""
    parts = " ".join(text.split()).split("--")  # an option's two hyphens, which would become a dash
    return "-{}-".join(
        "".join(_LATEX.get(character, character) for character in part) for part in parts
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def _plain(text: str) -> str:
    """Text that Markdown takes as it is: no column ends in it, nothing in it is a tag."""
    escaped = " ".join(text.split()).replace("\\", "\\\\")
    for character in "|<>*_`[]":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
