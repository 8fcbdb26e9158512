"""Tables as Markdown, LaTeX and HTML."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.report.export import escape, latex, markdown
from nnstudent.report.tables import Table
from tests.report.test_tables import tables

NUMBER = r"[−+]?\d+\.\d+"


@pytest.mark.parametrize(("kind", "name"), [("md", "report.md"), ("latex", "report.tex")])
def test_the_command_writes_them(run, kind, name, capsys):
    assert main(["report", str(run), "--format", kind]) == 0
    assert capsys.readouterr().out.strip() == str(run / name)
    text = (run / name).read_text()
    for table in tables(run).values():
        assert table.caption in text
        assert len(re.findall(NUMBER, text)) > 40
    assert "report-cases.png" in text


def test_the_suffix_decides(run):
    assert main(["report", str(run), "-o", str(run / "x" / "t.tex")]) == 0
    assert (run / "x" / "t.tex").read_text().count(r"\begin{tabular}") == 4


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(cells, cells), max_size=4), cells)
def test_whatever_is_in_a_cell_the_columns_stay(rows, title):
    table = Table("k", title, ("a", "b"), tuple(rows), note=title)
    lines = markdown([table], title=title).splitlines()
    for line in [line for line in lines if line.startswith("| ")]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    text = latex([table], title=title)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(body) == len(rows)
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 1
        assert line.endswith(r" \\")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("1 ± 2 × 3 −4", r"1 $\pm$ 2 $\times$ 3 $-$4"),
        ("\\x{y}", r"\textbackslash{}x\{y\}"),
        ("--o", "-{}-o"),
    ],
)
def test_latex_is_escaped_once(text, shown):
    assert escape(text) == shown
