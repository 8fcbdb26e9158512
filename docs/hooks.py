"""MkDocs hook: `<!-- public names -->` in a page becomes the reference of every public name."""

from __future__ import annotations

from typing import Any

import nnstudent

MARK = "<!-- public names -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the names in place of the mark, in three groups."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """Markdown with a directive of mkdocstrings for each public name."""
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in sorted(set(nnstudent.__all__) - {"__version__"}, key=str.lower):
        kind = (
            "Errors" if name.endswith("Error") else "Classes" if name[0].isupper() else "Functions"
        )
        groups[kind].append(f"::: nnstudent.{name}")
    return "\n\n".join("\n\n".join([f"## {title}", *names]) for title, names in groups.items())
