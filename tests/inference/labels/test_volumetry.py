from __future__ import annotations

import csv

import numpy as np
import pytest

from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.labels.volumetry import COLUMNS, densities
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_image
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs


def test_mean_and_deviation_of_each_value():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    labels[labels == 2] = 9
    values = rng.normal(40, 30, labels.shape).astype(np.float32)
    grid = Grid(labels.shape, np.eye(4))
    mean, deviation = densities(Volume(values, grid), Volume(labels, grid))
    for id in (1, 3, 9):
        assert mean[id] == pytest.approx(values[labels == id].mean(), rel=1e-5)
        assert deviation[id] == pytest.approx(values[labels == id].std(), rel=1e-4)
    assert np.isnan(mean[[0, 2, 255]]).all()


def test_one_table_of_several_cases(tmp_path, isotropic):
    for seed, name in enumerate(("a", "b")):
        write_image(
            tmp_path / "scans" / f"{name}_0000.nii.gz",
            blobs((14, 20, 22), (5.0, 4.0, 4.0), seed=seed),
        )
    options = Options(statistics=True, organs=("Spleen",))
    done = segment_files(
        tmp_path / "scans", tmp_path / "out", Segmenter(isotropic), options=options
    )
    assert done.statistics == tmp_path / "out" / "statistics.csv"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.nii.gz",
        "b.nii.gz",
        "statistics.csv",
    ]
    spleen = Segmenter(isotropic).taxonomy["spleen"].id  # the model's own value
    with done.statistics.open(newline="") as file:
        row, other = csv.DictReader(file)
    assert other["case"] == "b"
    assert tuple(row) == COLUMNS
    labels, image = (
        read_labels(tmp_path / "out" / "a.nii.gz").array,
        read_image(tmp_path / "scans" / "a_0000.nii.gz").array,
    )
    assert (row["case"], row["organ"], row["touches_border"]) == ("a", "spleen", "yes")
    assert float(row["volume_ml"]) == pytest.approx((labels == spleen).sum() * 0.08, abs=1e-3)
    assert float(row["mean_hu"]) == pytest.approx(image[labels == spleen].mean(), abs=0.06)
    assert 0 < float(row["confidence"]) <= 1


def test_a_second_call_keeps_the_rows_of_the_cases_that_it_skips(tmp_path, isotropic):
    for seed, name in enumerate(("a", "b")):
        write_image(
            tmp_path / "scans" / f"{name}.nii.gz", blobs((14, 20, 22), (5.0, 4.0, 4.0), seed=seed)
        )
    options = Options(statistics=True, skip_existing=True, organs=("spleen",))
    segmenter, out = Segmenter(isotropic), tmp_path / "out"
    segment_files(tmp_path / "scans", out, segmenter, options=options)
    first = (out / "statistics.csv").read_text()
    (out / "b.nii.gz").unlink()
    done = segment_files(tmp_path / "scans", out, segmenter, options=options)
    assert (done.skipped, done.notices) == (("a",), ())
    assert (out / "statistics.csv").read_text() == first
    (out / "statistics.csv").write_text("some,other,table\n")
    (out / "b.nii.gz").unlink()
    done = segment_files(tmp_path / "scans", out, segmenter, options=options)
    assert "statistics.csv: its columns are 'some, other, table'; expected" in done.notices[0]
    assert "without a, skipped because segmented before" in done.notices[1]
    with (out / "statistics.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["b"]


def test_of_one_case_the_table_is_beside_its_labels(tmp_path, isotropic):
    write_image(tmp_path / "ct.nii.gz", blobs((14, 20, 22), (5.0, 4.0, 4.0)))
    done = segment_files(
        tmp_path / "ct.nii.gz",
        tmp_path / "labels.nii.gz",
        Segmenter(isotropic),
        options=Options(statistics=True),
    )
    assert done.statistics is None
    assert done.rows[0]["files"] == [
        str(tmp_path / "labels.nii.gz"),
        str(tmp_path / "labels.csv"),
    ]
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 1 + len(
        Segmenter(isotropic).model.classes
    )
