"""The bench's logic at the tiniest scale; its figures mean nothing here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.inference as bench
from bench import floor, scans
from bench.untrained import write_untrained
from bench.whole_body import whole_body
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.bench.contender import floor_of_a_tiny_network, make_contender
from tests.inference.folders import ISOTROPIC, make_folder

KEYS = {
    "slices", "model", "windows", "precision", "seconds", "peak_rss_mb", "stages",
    "stock_seconds", "stock_peak_rss_mb",
    "agreement_dense_fp32", "dsc_cost",
}  # fmt: skip


@pytest.fixture(scope="module")
def contender(tmp_path_factory) -> scans.Contender:
    return make_contender(tmp_path_factory.mktemp("contender"))


@pytest.fixture
def quick(monkeypatch):
    floor_of_a_tiny_network(monkeypatch)


def test_a_scan_has_the_whole_abdomen_in_view(tmp_path):
    scan = scans.full_scan(tmp_path, 60, plane=64)
    image, truth = (
        read_image(scan / "images" / "ct_0000.nii.gz"),
        read_labels(scan / "truth.nii.gz"),
    )
    assert image.grid.shape == (60, 64, 64)
    assert image.spacing_mm == pytest.approx((5.0, 6.4, 6.4), abs=1e-4)
    assert truth.grid.matches(image.grid)
    assert {flare23()[name].id for name in flare23().organs} == set(
        np.unique(truth.array).tolist()
    ) - {0}


def test_rows_have_seconds_memory_and_ratios(contender, quick, tmp_path, monkeypatch, capfd):
    scale = {"sizes": [30], "stock": False, "work": tmp_path, "plane": 48}
    report = bench.bench([contender], repeats=1, least=0, **scale)
    (row,) = report["rows"]
    assert set(row) >= KEYS
    assert (row["slices"], row["model"], row["stock_seconds"], row["agreement_dense_fp32"]) == (
        30,
        "paper-plan",
        None,
        None,
    )
    assert row["precision"] in ("fp32", "bf16")
    assert 0 < sum(seconds for name, seconds in row["stages"].items()) <= row["seconds"] * 1.5
    assert set(row["share_of_floor"]) == {"read", "preprocess", "network", "restore", "write"}
    assert abs(row["dsc_cost"]) < 0.05, "the fast defaults are nearly dense fp32"
    assert "30 slices, paper-plan" in capfd.readouterr().out
    # From here on the label maps lie there already.
    options = []

    def run_again(one, scan, labels, *more):
        assert labels.is_file()
        options.append(more)
        reported = json.loads(labels.with_name("report.json").read_text())["cases"][0]
        return scans.Run(1.0, 100.0, reported)

    monkeypatch.setattr(bench, "run_ours", run_again)
    with pytest.raises(SystemExit, match=r"finds 0 organs.*no figures"):
        bench.bench([contender], repeats=3, **scale)
    assert options == [(), (), (), bench.EXACTLY]


def test_the_papers_student_with_random_weights_is_measured_without_a_word_on_its_labels(
    contender, quick, tmp_path, capfd
):
    folder = write_untrained(tmp_path / "untrained")
    (network,) = open_model(folder).networks
    assert (network.spec.patch, len(network.spec.classes)) == (bench.PATCH, 15)
    scales = [
        value
        for name, value in torch.load(folder / "fold_0" / "checkpoint_final.pth")[
            "network_weights"
        ].items()
        if name.endswith("norm.weight")
    ]
    assert scales
    assert not any((scale == 1).any() for scale in scales), "they would be optimized away"
    untrained = replace(contender, options=("--windows", "dense", "--postprocess", "none"))
    (row,) = bench.bench(
        [untrained], [20], repeats=1, stock=False, work=tmp_path, plane=40, least=0
    )["rows"]
    assert row["windows"]["run"] == row["windows"]["planned"]
    assert not {"dsc", "dsc_cost", "organs_found"} & set(row)
    assert "labels mean nothing" in capfd.readouterr().out


def test_what_the_fast_defaults_cost_is_of_the_truth(contender, tmp_path):
    scan = scans.full_scan(tmp_path / "scan", 40, plane=48)
    truth = read_labels(scan / "truth.nii.gz")
    write_labels(tmp_path / "exact.nii.gz", truth)
    liver = flare23()["liver"].id
    write_labels(
        tmp_path / "labels.nii.gz",
        Volume(np.where(truth.array == liver, np.uint8(0), truth.array), truth.grid),
    )
    said = bench.quality(contender, scan, tmp_path, None)
    assert (said["organs_found"], said["dsc_cost_worst"]) == (len(said["dsc"]) - 1, 1.0)
    assert said["dsc_cost"] == pytest.approx(1 / len(said["dsc"]))


def test_operations_are_counted_as_torch_counts_them(tmp_path):
    folder = make_folder(tmp_path / "model", ISOTROPIC)
    graph = open_model(export(folder, tmp_path / "bundle")).networks[0].members[0].graph
    assert graph is not None
    from torch.utils.flop_counter import FlopCounterMode

    from nnstudent.bundle.network import build

    network = open_model(folder).networks[0]
    module = build(network.spec)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 1, *network.spec.patch))
    assert floor.flops(graph, network.spec) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_floor_follows_from_sizes(contender, tmp_path):
    scan = scans.full_scan(tmp_path / "scan", 20, plane=32)
    image = read_image(Path(scan / "images" / "ct_0000.nii.gz"))
    least = floor.floor(
        image, contender.model.networks[0], windows=3, operations=2e9, peak=1e9, bandwidth=1e9
    )
    assert least["network"] == 6.0
    assert least["read"] == image.array.nbytes / 1e9
    assert least["restore"] > least["write"]


def test_a_whole_body_is_three_scans_in_a_row(tmp_path):
    scan = whole_body(tmp_path / "all", tmp_path / "one", slices=20, plane=32)
    image, one = (
        read_image(folder / "images" / "ct_0000.nii.gz") for folder in (scan, tmp_path / "one")
    )
    assert image.grid.shape == (60, 32, 32)
    np.testing.assert_array_equal(image.array[20:40], one.array)
    assert image.spacing_mm == one.spacing_mm
