"""The ranked cases as one HTML page, with the preview of each."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from nnstudent.evaluation.ranking import RankedCase, RankedOrgan
from nnstudent.words import class_title, count

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color:#1c1c1e;background:#fff}
article{border-top:1px solid #ccc;padding:1rem 0}
h2{margin:0 0 .5rem;font-size:1.1rem;overflow-wrap:anywhere}
img{max-width:100%;height:auto;display:block;margin:.75rem 0}
ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:.35rem}
li{border-radius:4px;padding:.1rem .5rem}
.fail{background:#b3261e;color:#fff}.look{background:#ffd98a;color:#3d2c00}
.pass{background:#e3f1e3;color:#123d14}
@media(prefers-color-scheme:dark){body{background:#161618;color:#eee}article{border-color:#444}}
"""


def ranking_page(cases: Sequence[RankedCase], *, folder: Path) -> str:
    """Return the page; pictures are linked relative to its folder.

    Args:
        cases: The ranked cases.
        folder: Where the page will lie.
    """
    fails, looks = (sum(bool(case.of(verdict)) for case in cases) for verdict in ("fail", "look"))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Quality of {html.escape(folder.name)}</title><style>{_STYLE}</style>"
        f"<h1>Quality of {html.escape(folder.name)}</h1>"
        f"<p>{count(len(cases), 'case')}, the worst first: {fails} with an organ that is expected "
        f"to fail, {looks} with one to look at. Each organ has its expected Dice and the interval "
        "that holds the true one in 9 of 10 scans like those of the calibration; for other scans "
        "it is a hint. The model card says what it rests on. Not for diagnosis.</p>"
        + "".join(_article(case, folder) for case in cases)
        + "</html>\n"
    )


def _article(case: RankedCase, folder: Path) -> str:
    name = html.escape(case.id)
    picture = ""
    if case.picture is not None:
        source = html.escape(case.picture.relative_to(folder).as_posix())
        picture = f'<img loading="lazy" src="{source}" alt="Labels of {name} over its slices">'
    items = "".join(map(_item, case.organs))
    return f"<article><h2>{name}</h2><ul>{items}</ul>{picture}</article>"


def _item(organ: RankedOrgan) -> str:
    text = organ.text() if organ.verdict != "pass" else class_title(organ.name)
    if organ.verdict == "pass" and organ.expected_dice is not None:
        text = f"{text} {organ.expected_dice:.2f}"
    return f'<li class="{organ.verdict}">{organ.verdict}: {html.escape(text)}</li>'
