"""Lays slices, a coronal plane, a 3D view and a legend out on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import nnstudent
from nnstudent.inference.checks import ids_at_border
from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.picture.choose import (
    Sections,
    body_box,
    choose_plane,
    choose_slices,
    measure_sections,
)
from nnstudent.inference.picture.plane import draw_plane
from nnstudent.inference.picture.surface import draw_surfaces
from nnstudent.taxonomy import LabelClass, Taxonomy
from nnstudent.volume import Box, Volume
from nnstudent.words import class_title, count

_COLUMNS, _SLICES = 3, 6
_CELL = 420  # width of a cell, in pixels
_LOWEST, _HIGHEST = 200, 420  # height of a cell with a slice
_BOTTOM = 440  # height of the cells of the coronal plane, the 3D view and the legend
_GAP, _EDGE = 6, 16
_TITLE, _LINE, _FOOT = 46, 22, 30
_FINER = 2  # planes are drawn this much larger and then reduced, for smooth outlines
_BACKGROUND = (13, 16, 21)
_WHITE, _SOFT, _AMBER = (240, 243, 246), (150, 160, 170), (255, 190, 60)
_MISSING = str.maketrans("×–−…’", "x--.'")  # what the font does not have
_MOST_WARNINGS = 3
_AROUND_MM = 60.0  # what the coronal plane shows above and below the organs
_FOOTNOTE = "Research software, not a medical device. Made by nnStudent"


@dataclass(frozen=True, eq=False)
class _Scene:
    """The contents of a picture: the scan and its labels, in RAS, and the classes found."""

    image: Volume
    labels: Volume
    sections: Sections
    found: Sequence[LabelClass]
    cut: frozenset[int]


def draw_sheet(
    image: Volume,
    labels: Volume,
    taxonomy: Taxonomy,
    *,
    title: str = "",
    organs: Mapping[str, OrganFacts] | None = None,
    warnings: Sequence[str] = (),
) -> Image.Image:
    """Draw six axial slices, a coronal plane, a 3D view, and a legend with volumes and flags.

    The slices are chosen so that every organ found is seen. The patient's right is on the left.

    For the arguments see :func:`nnstudent.inference.files.preview.write_preview`.
    """
    turned, drawn = image.reoriented(), labels.reoriented()
    sections = measure_sections(drawn)
    found = [item for item in taxonomy if item.id in sections.ids]
    if organs is None:
        cut = ids_at_border(turned, drawn.array)
        missing: list[str] = []
    else:
        cut = frozenset(taxonomy[name].id for name, row in organs.items() if row.touches_border)
        missing = [name for name in organs if taxonomy[name].id not in sections.ids]
    scene = _Scene(turned, drawn, sections, found, cut)
    indices = choose_slices(sections.axial, most=_SLICES)[::-1]  # the head comes first
    box = body_box(turned, around=sections.box())
    slices = [
        _draw(scene, box=box, axis=0, index=index, size=_slice_size(turned, box))
        for index in indices
    ]
    notes = _shorten(warnings)
    height = _slice_size(turned, box)[1]
    rows = -(-len(slices) // _COLUMNS)
    top = _EDGE + _TITLE + _LINE * len(notes)
    width = 2 * _EDGE + _COLUMNS * _CELL + (_COLUMNS - 1) * _GAP
    below = top + rows * (height + _GAP)
    sheet = Image.new("RGB", (width, below + _BOTTOM + _FOOT), _BACKGROUND)
    _write_title(sheet, title, notes=notes)
    lefts = [_EDGE + column * (_CELL + _GAP) for column in range(_COLUMNS)]
    for number, (index, picture) in enumerate(zip(indices, slices, strict=True)):
        _mark_slice(picture, scene, number=number + 1, index=index)
        place = (lefts[number % _COLUMNS], top + number // _COLUMNS * (height + _GAP))
        sheet.paste(picture, place)
    sheet.paste(_draw_coronal(scene, box=box, indices=indices), (lefts[0], below))
    if found:
        solid = draw_surfaces(drawn, sections, found, size=(_CELL, _BOTTOM), background=_BACKGROUND)
        _mark_sides(solid)
        sheet.paste(solid, (lefts[1], below))
    sheet.paste(_draw_legend(scene, missing=missing), (lefts[2], below))
    foot = ImageDraw.Draw(sheet)
    note = f"{_FOOTNOTE} {nnstudent.__version__}."
    foot.text(
        (width - _EDGE, sheet.height - _FOOT / 2), note, fill=_SOFT, font=_font(13), anchor="rm"
    )
    doubts = _doubts(organs or {})
    room = width - 3 * _EDGE - int(_font(13).getlength(note))
    foot.text(
        (_EDGE, sheet.height - _FOOT / 2),
        _fit(doubts, _font(13), room),
        fill=_AMBER,
        font=_font(13),
        anchor="lm",
    )
    return sheet


def _doubts(organs: Mapping[str, OrganFacts]) -> str:
    """The organs in doubt: ``expected to fail: gallbladder; look at: pancreas``."""
    parts = []
    for verdict, words in (("fail", "expected to fail"), ("look", "look at")):
        names = [
            class_title(name)
            for name, facts in organs.items()
            if facts.quality is not None and facts.quality.verdict == verdict
        ]
        if names:
            parts.append(f"{words}: {', '.join(names)}")
    return "; ".join(parts)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shorten(warnings: Sequence[str]) -> list[str]:
    lines = list(warnings[:_MOST_WARNINGS])
    if len(warnings) > _MOST_WARNINGS:
        lines[-1] = f"and {count(len(warnings) - _MOST_WARNINGS + 1, 'more warning')}"
    return lines


def _write_title(sheet: Image.Image, title: str, *, notes: Sequence[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _EDGE
    draw.text(
        (_EDGE, _EDGE + _TITLE / 2 - 8),
        _fit(title, _font(24), room),
        fill=_WHITE,
        font=_font(24),
        anchor="lm",
    )
    for number, line in enumerate(notes):
        y = _EDGE + _TITLE - 4 + number * _LINE
        _draw_flag(draw, _EDGE, y + 2)
        draw.text(
            (_EDGE + 20, y + 8),
            _fit(line, _font(15), room - 20),
            fill=_AMBER,
            font=_font(15),
            anchor="lm",
        )


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """Shorten a text to so many pixels."""
    text = text.translate(_MISSING)
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text.rstrip()}..."


def _draw_flag(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """A small triangle, which the font does not have."""
    draw.polygon(((x, y + 12), (x + 13, y + 12), (x + 6.5, y)), fill=_AMBER)


def _slice_size(image: Volume, box: Box) -> tuple[int, int]:
    """Width and height of the cell of a slice."""
    _, down, across = (
        (part.stop - part.start) * mm for part, mm in zip(box, image.spacing_mm, strict=True)
    )
    return _CELL, int(np.clip(round(_CELL * down / across), _LOWEST, _HIGHEST))


def _draw(scene: _Scene, *, box: Box, axis: int, index: int, size: tuple[int, int]) -> Image.Image:
    """Draw a plane of the part in a box, in the middle of a cell of (width, height)."""
    image, labels = scene.image.cropped(box), scene.labels.cropped(box)
    mm = [
        n * by
        for k, (n, by) in enumerate(zip(image.grid.shape, image.spacing_mm, strict=True))
        if k != axis
    ]
    scale = min(size[0] / mm[1], size[1] / mm[0])
    picture = draw_plane(
        image,
        labels,
        scene.found,
        axis=axis,
        index=index - box[axis].start,
        longest=max(1, round(max(mm) * scale)) * _FINER,
        outline=3,
    ).reduce(_FINER)
    cell = Image.new("RGB", size)
    cell.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return cell


def _mark_slice(picture: Image.Image, scene: _Scene, *, number: int, index: int) -> None:
    draw = ImageDraw.Draw(picture)
    _outlined(draw, (9, 8), str(number), size=20, anchor="la")
    _, y, x = scene.image.grid.shape
    middle = scene.image.grid.affine @ [(x - 1) / 2, (y - 1) / 2, index, 1]
    _outlined(
        draw, (picture.width - 8, 10), f"z {middle[2]:.0f} mm", size=13, anchor="ra", fill=_SOFT
    )
    _mark_sides(picture)


def _mark_sides(picture: Image.Image, *, height: float | None = None) -> None:
    draw = ImageDraw.Draw(picture)
    y = picture.height / 2 if height is None else height
    _outlined(draw, (10, y), "R", size=15, anchor="lm", fill=_SOFT)
    _outlined(draw, (picture.width - 10, y), "L", size=15, anchor="rm", fill=_SOFT)


def _outlined(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    size: int,
    anchor: str,
    fill: tuple[int, int, int] = _WHITE,
) -> None:
    draw.text(
        place, text, fill=fill, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill="black"
    )


def _draw_coronal(scene: _Scene, *, box: Box, indices: Sequence[int]) -> Image.Image:
    """The coronal plane, with a line for each axial slice."""
    depth, mm = scene.image.grid.shape[0], scene.image.spacing_mm[0]
    inside = scene.sections.box()
    margin = round(_AROUND_MM / mm)
    if inside is not None:
        z = slice(max(0, inside[0].start - margin), min(depth, inside[0].stop + margin))
        box = (z, box[1], box[2])
    size = (_CELL, _BOTTOM)
    plane = choose_plane(scene.sections.coronal)
    plane = min(max(plane, box[1].start), box[1].stop - 1)
    picture = _draw(scene, box=box, axis=1, index=plane, size=size)
    extents = [
        (part.stop - part.start) * by for part, by in zip(box, scene.image.spacing_mm, strict=True)
    ]
    scale = min(size[0] / extents[2], size[1] / extents[0])
    draw = ImageDraw.Draw(picture)
    free = 0.0  # a number is not written over the one above it
    for number, index in enumerate(indices):
        y = size[1] / 2 + extents[0] * scale / 2 - (index - box[0].start + 0.5) * mm * scale
        if 0 <= y < size[1]:
            free = max(y, free)
            draw.line((0, y, 12, y, 18, free), fill=_WHITE)
            draw.line((size[0] - 13, y, size[0] - 1, y), fill=_WHITE)
            _outlined(draw, (21, free), str(number + 1), size=13, anchor="lm")
            free += 14
    _outlined(draw, (size[0] - 8, size[1] - 8), "coronal", size=13, anchor="rd", fill=_SOFT)
    _mark_sides(picture, height=18)
    return picture


def _draw_legend(scene: _Scene, *, missing: Sequence[str]) -> Image.Image:
    """A line for each class found, the largest first if there is no room for all."""
    cell = Image.new("RGB", (_CELL, _BOTTOM), _BACKGROUND)
    draw = ImageDraw.Draw(cell)
    volumes = dict(zip(scene.sections.ids, scene.sections.voxels, strict=True))
    listed, below = list(scene.found), []
    notes = _legend_notes(scene, missing)
    room = _BOTTOM - 12 - _LINE * len(notes)
    most = room // 18
    if len(listed) > most:
        kept = sorted(listed, key=lambda item: -volumes[item.id])[: most - 1]
        below = [f"and {count(len(listed) - len(kept), 'smaller class', plural='smaller classes')}"]
        listed = [item for item in listed if item in kept]
    line = min(30, room // max(1, len(listed) + len(below)))
    size = min(17, line - 4)
    for number, item in enumerate(listed):
        y = 8 + number * line + line / 2
        draw.rounded_rectangle((14, y - size / 2, 14 + size, y + size / 2), 3, fill=item.color)
        title = _fit(class_title(item.name), _font(size), _CELL - 190)
        draw.text((24 + size, y), title, fill=_WHITE, font=_font(size), anchor="lm")
        volume = _volume(volumes[item.id] * scene.labels.grid.voxel_ml)
        draw.text((_CELL - 48, y), volume, fill=_WHITE, font=_font(size), anchor="rm")
        if item.id in scene.cut:
            _draw_flag(draw, _CELL - 36, y - 6)
    y = 8 + len(listed) * line + 4
    for text in below:
        draw.text((14, y), text, fill=_SOFT, font=_font(14))
        y += line
    for flagged, text in notes:
        if flagged:
            _draw_flag(draw, 14, y + 4)
        draw.text(
            (34 if flagged else 14, y + 2), text, fill=_AMBER if flagged else _SOFT, font=_font(14)
        )
        y += _LINE
    return cell


def _legend_notes(scene: _Scene, missing: Sequence[str]) -> list[tuple[bool, str]]:
    """Lines under the legend; whether each explains the flag."""
    notes = []
    if scene.cut & {item.id for item in scene.found}:
        notes.append((True, "touches the border of the image: it may be cut"))
    if not scene.found:
        return [(False, "Nothing was found in this scan.")]
    if missing:
        names = ", ".join(class_title(name) for name in missing)
        notes += [
            (False, line) for line in _wrap(f"not found: {names}", _font(14), _CELL - 28, most=3)
        ]
    return notes


def _wrap(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int, *, most: int
) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], _fit(" ".join(lines[most - 1 :]), font, room)]
    return lines


def _volume(ml: float) -> str:
    if ml >= 10:
        return f"{ml:,.0f} ml".replace(",", " ")
    return f"{ml:.1f} ml" if ml >= 1 else f"{ml:.2g} ml"
