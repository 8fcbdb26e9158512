from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops

from nnstudent.inference.labels.organs import OrganFacts
from nnstudent.inference.picture.sheet import draw_sheet
from nnstudent.quality.model import Quality
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from nnstudent.volume import Grid, Volume

TABLE = flare23()
ORGANS = ("liver", "spleen", "right_kidney", "left_kidney", "aorta", "duodenum")


def scene(shape=(40, 60, 80), mm=(5.0, 4.0, 4.0)) -> tuple[Volume, Volume]:
    """A body in air; each organ is a small box on slices of its own, in RAS."""
    grid = Grid(shape, np.diag([*mm[::-1], 1.0]))
    image = np.full(shape, -1000, np.int16)
    image[:, 4:-4, 4:-4] = 40
    labels = np.zeros(shape, np.uint8)
    for place, name in enumerate(ORGANS):
        labels[2 + 6 * place : 5 + 6 * place, 20:32, 10 + 10 * place : 20 + 10 * place] = TABLE[
            name
        ].id
    return Volume(image, grid), Volume(labels, grid)


def shows(sheet: Image.Image, color: tuple[int, int, int], box: tuple[int, int, int, int]) -> int:
    """How many pixels of a part of the sheet have exactly this color, as outlines and
    chips have."""
    part = np.asarray(sheet.crop(box)).astype(int)
    return int((np.abs(part - color).max(axis=2) <= 6).sum())


def slices_of(sheet: Image.Image) -> tuple[int, int, int, int]:
    return (0, 60, sheet.width, sheet.height - 470)


def legend_of(sheet: Image.Image) -> tuple[int, int, int, int]:
    return (sheet.width - 430, sheet.height - 470, sheet.width, sheet.height - 30)


def test_every_organ_found_is_seen_on_a_slice_and_in_the_legend():
    sheet = draw_sheet(*scene(), TABLE, title="case")
    for name in ORGANS:
        assert shows(sheet, TABLE[name].color, slices_of(sheet)) > 30, name
        assert shows(sheet, TABLE[name].color, legend_of(sheet)) > 100, name
    assert not shows(sheet, TABLE["tumor"].color, slices_of(sheet))


def test_the_picture_is_the_same_whatever_the_order_of_the_axes():
    image, labels = scene()
    sheet = draw_sheet(image, labels, TABLE, title="case")
    turned = draw_sheet(image.reoriented("PIL"), labels.reoriented("PIL"), TABLE, title="case")
    assert ImageChops.difference(sheet, turned).getbbox() is None


def test_what_is_flagged_missing_or_warned_of_is_written():
    image, labels = scene()
    facts = {name: OrganFacts(20.0, False, 0.9) for name in ORGANS}
    plain = draw_sheet(image, labels, TABLE, organs=facts)
    amber = (255, 190, 60)
    assert not shows(plain, amber, (0, 0, plain.width, plain.height))
    flagged = draw_sheet(
        image, labels, TABLE, organs=facts | {"aorta": OrganFacts(20.0, True, 0.9)}
    )
    assert shows(flagged, amber, legend_of(flagged)) > 60
    missing = draw_sheet(
        image, labels, TABLE, organs=facts | {"tumor": OrganFacts(0.0, False, None)}
    )
    assert ImageChops.difference(plain, missing).getbbox() is not None
    poor = OrganFacts(20.0, False, 0.9, Quality(0.3, 0.1, 0.5, "fail", "expected Dice below 0.5"))
    doubted = draw_sheet(image, labels, TABLE, organs=facts | {"aorta": poor})
    assert doubted.size == plain.size
    changed = np.argwhere((np.asarray(doubted) != np.asarray(plain)).any(axis=-1))
    assert changed[:, 0].min() > plain.height - 30, "only the line at the foot"
    warned = draw_sheet(image, labels, TABLE, organs=facts, warnings=["small field of view"] * 9)
    assert warned.height > plain.height
    assert shows(warned, amber, (0, 0, warned.width, 140)) > 60


def test_nothing_found():
    image, labels = scene()
    sheet = draw_sheet(image, Volume(np.zeros_like(labels.array), labels.grid), TABLE)
    assert np.asarray(sheet.crop(slices_of(sheet))).max() > 100, "the scan is shown"
    assert np.asarray(sheet.crop(legend_of(sheet))).max() > 100, "and said why there is no organ"


@pytest.mark.parametrize("shape", [(1, 30, 40), (5, 60, 80), (3, 2, 200), (200, 3, 2), (1, 1, 1)])
@pytest.mark.parametrize("value", [0, 1])
def test_any_shape(shape, value):
    grid = Grid(shape, np.diag([0.7, 0.7, 5.0, 1.0]))
    image = Volume(np.zeros(shape, np.int16), grid)
    sheet = draw_sheet(image, Volume(np.full(shape, value, np.uint8), grid), TABLE, title="x" * 300)
    assert sheet.width == 1304
    assert sheet.height < 1600


def test_many_classes():
    rows = [
        LabelClass(k, f"class_{k}_with_a_long_name_indeed", color=(250, k, 9))
        for k in range(1, 118)
    ]
    shape = (10, 20, 30)
    labels = np.random.default_rng(0).integers(0, 118, shape).astype(np.uint8)
    grid = Grid(shape, np.diag([3.0, 3.0, 3.0, 1.0]))
    sheet = draw_sheet(
        Volume(np.zeros(shape, np.int16), grid), Volume(labels, grid), Taxonomy("many", tuple(rows))
    )
    assert sheet.height < 1600
