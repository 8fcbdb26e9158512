"""Measures of a folder of label maps as one table."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.labels.measure import Measures
from nnstudent.labels.stats import COLUMNS, MeasuredCase, Statistics, measure_files
from nnstudent.volume import Grid, Volume

GRID = Grid((6, 12, 12), np.diag([2.0, 2.0, 5.0, 1.0]))


def labels(side: int, *, value: int = 1) -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    array[1:4, 2 : 2 + side, 2 : 2 + side] = value
    return Volume(array, GRID)


def image(hu: int) -> Volume:
    return Volume(np.full(GRID.shape, hu, np.int16), GRID)


def cases(*volumes: float) -> Statistics:
    return Statistics(
        tuple(
            MeasuredCase(f"c{number}", (Measures("liver", ml, voxels=1),))
            for number, ml in enumerate(volumes)
        )
    )


def column(found: Statistics, name: str) -> list:
    return [row[name] for row in found.rows()]


def test_label_maps_find_their_images_by_name(tmp_path):
    for number in (1, 2):
        write_labels(tmp_path / "labels" / f"c{number}.nii.gz", labels(3 * number))
        write_image(tmp_path / "images" / f"c{number}_0000.nii.gz", image(10 * number))
    found = measure_files(tmp_path / "labels", tmp_path / "images", classes=("liver",))
    rows = list(found.rows())
    assert [row["case"] for row in rows] == ["c1", "c2"]
    assert [row["mean_hu"] for row in rows] == [10.0, 20.0]
    assert [row["volume_ml"] for row in rows] == pytest.approx([0.54, 2.16])
    assert [row["volume_percentile"] for row in rows] == [0.0, 100.0]
    assert [row["outlier"] for row in rows] == [None, None]


def test_a_label_map_without_an_image_is_named_and_the_others_are_done(tmp_path):
    for name in ("a", "b"):
        write_labels(tmp_path / "labels" / f"{name}.nii.gz", labels(3))
    write_image(tmp_path / "images" / "a.nii.gz", image(10))
    found = measure_files(tmp_path / "labels", tmp_path / "images")
    assert [case.id for case in found.cases] == ["a"]
    assert [failure.case for failure in found.failures] == ["b"]


def test_values_outside_the_table_are_no_class_of_it(tmp_path):
    write_labels(tmp_path / "labels" / "a.nii.gz", labels(3, value=77))
    found = measure_files(tmp_path / "labels")
    assert found.cases == ()
    assert "holds 77" in found.failures[0].reason


def test_a_dataset_json_names_the_classes(tmp_path):
    write_labels(tmp_path / "a.nii.gz", labels(3, value=2))
    declared = {"labels": {"background": 0, "heart": 1, "lung": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(declared))
    rows = list(measure_files(tmp_path).rows())
    assert [(row["organ"], row["voxels"]) for row in rows] == [("heart", 0), ("lung", 27)]


def test_images_that_belong_to_no_label_map_are_refused(tmp_path):
    write_labels(tmp_path / "labels" / "a.nii.gz", labels(3))
    write_image(tmp_path / "images" / "b.nii.gz", image(10))
    with pytest.raises(InputError, match="no image is named after a label map"):
        measure_files(tmp_path / "labels", tmp_path / "images")


def test_the_percentile_counts_ties_half():
    assert column(cases(1.0, 2.0, 2.0, 3.0), "volume_percentile") == [0.0, 50.0, 50.0, 100.0]


def test_an_outlier_is_far_from_the_median_of_many_cases():
    common = [1400.0, 1500.0, 1450.0, 1550.0, 1480.0, 1520.0, 1600.0]
    assert column(cases(*common, 90.0), "outlier") == [False] * 7 + [True]
    assert column(cases(*common[:6], 90.0), "outlier") == [None] * 7
    assert column(cases(*[1500.0] * 7, 1501.0), "outlier") == [False] * 7 + [True]


def test_wide_has_a_row_for_each_case_with_the_same_figures(tmp_path):
    for name in ("a", "b"):
        write_labels(tmp_path / f"{name}.nii.gz", labels(3))
    found = measure_files(tmp_path, classes=("liver", "spleen"))
    long, wide = (
        list(csv.DictReader(io.StringIO(found.to_csv(kind)))) for kind in ("long", "wide")
    )
    assert tuple(long[0]) == COLUMNS
    assert len(long) == 4
    assert len(wide) == 2
    for row in long:
        case = next(item for item in wide if item["case"] == row["case"])
        assert case[f"{row['organ']}.volume_ml"] == row["volume_ml"]
    assert long[1]["mean_hu"] == long[1]["pieces"] == ""
