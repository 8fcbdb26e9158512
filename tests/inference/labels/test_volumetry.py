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


def test_a_table_beside_each_output(tmp_path, isotropic):
    for seed, name in enumerate(("a", "b")):
        write_image(
            tmp_path / "scans" / f"{name}_0000.nii.gz",
            blobs((14, 20, 22), (5.0, 4.0, 4.0), seed=seed),
        )
    segment_files(
        tmp_path / "scans",
        tmp_path / "out",
        Segmenter(isotropic),
        options=Options(statistics=True, organs=("spleen",)),
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.csv",
        "a.nii.gz",
        "b.csv",
        "b.nii.gz",
    ]
    spleen = Segmenter(isotropic).taxonomy["spleen"].id  # the model's own value
    with (tmp_path / "out" / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    labels, image = (
        read_labels(tmp_path / "out" / "a.nii.gz").array,
        read_image(tmp_path / "scans" / "a_0000.nii.gz").array,
    )
    assert (row["case"], row["organ"], row["touches_border"]) == ("a", "spleen", "yes")
    assert float(row["volume_ml"]) == pytest.approx((labels == spleen).sum() * 0.08, abs=1e-3)
    assert float(row["mean_hu"]) == pytest.approx(image[labels == spleen].mean(), abs=0.06)
    assert 0 < float(row["confidence"]) <= 1
