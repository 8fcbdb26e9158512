"""Exporting a model to a bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model, relabeled
from nnstudent.bundle.export import export
from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_image
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder


def test_exporting_replaces_a_bundle_and_nothing_else(folder, copy, tmp_path):
    export(folder, copy, fold=1)
    assert open_model(copy).networks[0].spec.source["fold"] == "1"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else than a bundle"):
        export(folder, tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_a_bundle_is_not_exported_again(bundle, tmp_path):
    with pytest.raises(InputError, match="is a bundle already; expected the nnU-Net model folder"):
        export(bundle, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_models_of_other_label_tables_are_not_laid_over(folder, tmp_path):
    other = make_folder(tmp_path / "other", ISOTROPIC, classes=("heart", "lung"))
    with pytest.raises(InputError, match="share a label table"):
        export(folder, tmp_path / "bundle", overlay=[other])
    assert not (tmp_path / "bundle").exists()


def test_another_label_table_only_when_it_is_asked_for(folder, tmp_path):
    own = open_model(folder, fold=0)
    assert [own.taxonomy[name].id for name in ("liver", "spleen", "aorta")] == [1, 2, 3]
    asked = relabeled(own, flare23())
    assert [asked.taxonomy[name].id for name in ("liver", "spleen", "aorta")] == [1, 3, 5]
    assert open_model(export(folder, tmp_path / "b", taxonomy=flare23())).taxonomy == flare23()
    small = Taxonomy("small", (LabelClass(1, "liver"),))
    for use in (
        lambda: relabeled(own, small),
        lambda: export(folder, tmp_path / "c", taxonomy=small),
    ):
        with pytest.raises(InputError, match="which label table small lacks"):
            use()


@pytest.mark.parametrize(
    ("more", "values"), [([], [0, 1, 2, 3]), (["--taxonomy", "flare23"], [0, 1, 3, 5])]
)
def test_the_values_that_are_written_are_the_models_own(folder, tmp_path, capfd, more, values):
    write_image(tmp_path / "ct.nii.gz", blobs((20, 26, 30), (5.0, 4.0, 4.0)))
    out, report = tmp_path / "labels.nii.gz", tmp_path / "report.json"
    command = [
        "segment",
        str(tmp_path / "ct.nii.gz"),
        "-o",
        str(out),
        "--model",
        str(folder),
        "--postprocess",
        "none",
        "--windows",
        "dense",
    ]
    assert main([*command, "--engine", "torch", "--report", str(report), *more]) == 0
    assert np.unique(read_labels(out).array).tolist() == values
    labels = json.loads(report.read_text())["model"]["labels"]
    assert sorted(labels.values()) == values[1:]
    assert (
        "labels have the model's own values (liver 1, spleen 2, aorta 3)" in capfd.readouterr().err
    ) == (not more)


def test_networks_of_one_name_are_told_apart(folder, tmp_path):
    other = make_folder(tmp_path / "model", ISOTROPIC, classes=("tumor",))
    model = open_model(export(folder, tmp_path / "bundle", overlay=[other], taxonomy=flare23()))
    assert [network.name for network in model.networks] == ["model", "model_2"]
    assert model.classes == ("liver", "spleen", "aorta", "tumor")
    assert model.taxonomy == flare23()


def test_a_graph_that_computes_something_else_is_not_exported(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("nnstudent.bundle.write.TOLERANCE", 1e-9)
    with pytest.raises(InputError, match="differs from torch"):
        export(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
