"""A lesion stage on another grid: nothing else of the bundle is another."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.grids import regrid_lesion_stage
from nnstudent.bundle.lesion_stage import add_lesion_stage
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.taxonomy import flare23
from tests.inference.conftest import blobs
from tests.inference.lesion_bundles import HOSTS, make_lesion_bundles

FINE = (3.0, 2.0, 2.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of organs, a lesion stage's folder, and both in one bundle."""
    return make_lesion_bundles(tmp_path_factory.mktemp("grid"))


def test_only_the_grid_of_the_stage_is_another(made, tmp_path):
    organs, _, both = made
    fine = regrid_lesion_stage(both, tmp_path / "fine", spacing_mm=FINE, card={"why": "small"})
    before, after = open_model(both), open_model(fine)
    assert after.networks[0].spec == before.networks[0].spec
    stage = after.networks[1].spec
    assert stage.spacing_mm == FINE
    assert {**stage.to_dict(), "spacing_mm": None} == {
        **before.networks[1].spec.to_dict(),
        "spacing_mm": None,
    }
    assert after.hash != before.hash
    assert after.card["why"] == "small"
    assert "- spacing (z, y, x): 3, 2, 2.5 mm" in (fine / "card.md").read_text()
    was, now = (json.loads((path / "bundle.json").read_text()) for path in (both, fine))
    assert [row["files"] for row in now["networks"]] == [row["files"] for row in was["networks"]]
    assert now.get("quality") == was.get("quality")
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    labels = [Segmenter(path, postprocess=())(image).labels.array for path in (organs, both, fine)]
    tumor = flare23()["tumor"].id
    assert (labels[1] == tumor).any()
    assert (labels[2] == tumor).any()
    assert not np.array_equal(labels[1], labels[2])
    others = labels[2] != tumor
    assert np.array_equal(labels[2][others], labels[0][others])


def test_a_stage_is_put_behind_a_bundle_on_another_grid(made, tmp_path):
    organs, stage, both = made
    fine = add_lesion_stage(
        organs,
        stage,
        tmp_path / "fine",
        hosts=HOSTS,
        context_mm=8.0,
        spacing_mm=FINE,
        torch_weights=False,
    )
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    changed = regrid_lesion_stage(both, tmp_path / "changed", spacing_mm=FINE)
    first, second = (Segmenter(path)(image).labels.array for path in (fine, changed))
    assert np.array_equal(first, second)


def test_a_model_without_a_lesion_stage_is_refused(made, tmp_path):
    organs, stage, _ = made
    with pytest.raises(InputError, match="has no lesion stage"):
        regrid_lesion_stage(organs, tmp_path / "out", spacing_mm=FINE)
    with pytest.raises(InputError, match="is no bundle"):
        regrid_lesion_stage(stage, tmp_path / "out", spacing_mm=FINE)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_bundle_again(made, tmp_path):
    *_, both = made
    words = ["export", str(both), "-o", str(tmp_path / "fine"), "--lesion-grid"]
    assert main([*words, "3,2,2.5"]) == 0
    assert open_model(tmp_path / "fine").networks[1].spec.spacing_mm == FINE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lesion-grid", "3,2"], "expected three spacings in mm"),
        (["--lesion-grid", "3,two,2"], "expected three spacings in mm"),
        (["--lesion-grid", "3,0,2"], "a spacing of"),
        (["--lesion-grid", "3,nan,2"], "a spacing of"),
        (["--lesion-grid", "3,2,2", "--shift", "liver=1"], "--lesion-grid does not go with"),
        (["--lesion-grid", "3,2,2", "--no-torch"], "--no-torch does not go with"),
        (["--lesion-grid", "3,2,2", "--onnx"], "--lesion-grid does not go with"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(made, tmp_path, capsys, words, said):
    *_, both = made
    assert main(["export", str(both), "-o", str(tmp_path / "fine"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "fine").exists()
