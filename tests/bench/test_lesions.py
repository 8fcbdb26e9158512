"""What the lesion bench counts as found, false and visible."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the painter is part of training")

from bench.lesions import (
    FALSE_ML,
    Row,
    equivalent_mm,
    outlines,
    painted,
    summary,
    visible,
    volumes,
)
from nnstudent.io.nifti import write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

LIVER, TUMOR = 1, 14
GRID = Grid((30, 60, 60), np.diag([2.5, 2.5, 4.0, 1.0]))


def scan() -> tuple[Volume, Volume]:
    """A liver with noise, and its labels."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[3:27, 5:55, 5:55] = LIVER
    noise = np.random.default_rng(0).normal(0, 4, GRID.shape)
    hu = np.where(labels == LIVER, 110.0, -100.0) + noise
    return Volume(hu.astype(np.int16), GRID), Volume(labels, GRID)


class Oracle:
    """Finds what differs from the scan as it was, or a piece of it that nobody painted."""

    taxonomy = flare23()

    def __init__(self, before: Volume, *, blind: bool = False) -> None:
        self._before, self._blind = before, blind

    def __call__(self, image: Volume) -> SimpleNamespace:
        changed = np.abs(image.array.astype(int) - self._before.array) > 12
        found = np.zeros(image.array.shape, np.uint8)
        found[changed & (not self._blind)] = TUMOR
        return SimpleNamespace(labels=Volume(found, image.grid))


@pytest.mark.parametrize("blind", [False, True])
def test_painted_lesions_are_found_by_who_sees_them(blind: bool) -> None:
    image, organs = scan()
    rows = painted(Oracle(image, blind=blind), "a", image, organs, TUMOR, seed=1)
    assert len(rows) >= 2
    assert all(row.host == "liver" and abs(row.contrast_hu) >= 20 for row in rows)
    assert [row.found for row in rows] == [not blind] * len(rows)
    if not blind:
        assert np.mean([row.dsc for row in rows]) > 0.6


@pytest.mark.parametrize("known", [False, True])
def test_lesions_are_painted_into_another_models_organs_or_the_students(
    tmp_path: Path, known: bool
) -> None:
    image, organs = scan()
    drawn = np.where(organs.array == LIVER, 3, 0).astype(np.uint8)
    drawn[12, 20, 20] = TUMOR
    if known:
        write_labels(tmp_path / "label.nii.gz", organs)

    class Student:
        taxonomy = flare23()

        def __call__(self, image: Volume) -> SimpleNamespace:
            return SimpleNamespace(labels=Volume(drawn, image.grid))

    got = outlines(Student(), tmp_path, image)
    expected = organs.array if known else np.where(drawn == TUMOR, 0, drawn)
    np.testing.assert_array_equal(got.array, expected)


def test_parts_are_counted_by_volume() -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[2:4, 2:6, 2:6] = True
    mask[10, 10, 10] = True
    assert volumes(mask, GRID.voxel_ml) == pytest.approx([32 * 0.025, 0.025])


@pytest.mark.parametrize(("contrast", "seen"), [(-40, True), (-6, False)])
def test_what_an_eye_does_not_see_is_not_counted(contrast: int, seen: bool) -> None:
    image, organs = scan()
    own = np.zeros(GRID.shape, bool)
    own[12:16, 25:31, 25:31] = True
    hu = image.array.copy()
    hu[own] += contrast
    labels = np.where(own, TUMOR, organs.array).astype(np.uint8)
    assert visible(Volume(hu, GRID), own, labels, TUMOR) is seen
    assert equivalent_mm(own, image) == pytest.approx(19.0, abs=0.5)


def test_the_summary_has_shares_and_false_pieces() -> None:
    rows = [
        Row("a", "liver", 20.0, -30.0, True, 0.8),
        Row("a", "left_kidney", 15.0, 25.0, False, 0.0),
    ]
    said = summary(rows, {"a": [FALSE_ML, 3.0], "b": []})
    assert "1 of 2 found, mean DSC of those found 0.80" in said
    assert f"false pieces of {FALSE_ML} ml and more: 2 in 2 scans" in said
    assert "b: none ml" in said
