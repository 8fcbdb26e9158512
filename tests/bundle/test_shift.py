"""Shifted borders: the logits are those of before and the shift, in every engine and format."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.shift import shift_bundle
from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from tests.inference.conftest import blobs

SHIFT = {"liver": -1.5, "aorta": 0.75}


def logits(model, **how) -> np.ndarray:
    segmenter = Segmenter(model, precision="fp32", **how)
    window = np.random.default_rng(0).standard_normal(segmenter.runner.network(0).spec.patch)
    return np.asarray(segmenter.engine_of(0, 0)(window.astype(np.float32)))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_shift_is_added_to_the_logits(bundle, tmp_path, engine):
    shifted = shift_bundle(bundle, tmp_path / "shifted", logit_shift=SHIFT)
    found = logits(shifted, engine=engine) - logits(bundle, engine=engine)
    assert open_model(shifted).networks[0].spec.classes == (
        "background",
        "liver",
        "spleen",
        "aorta",
    )
    means = found.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [0, -1.5, 0, 0.75], atol=1e-3)
    assert found.std(axis=(1, 2, 3)).max() < 1e-3


def test_a_folder_is_exported_with_the_shift(folder, bundle, tmp_path):
    exported = export(folder, tmp_path / "a", logit_shift=SHIFT)
    np.testing.assert_allclose(
        logits(exported), logits(shift_bundle(bundle, tmp_path / "b", logit_shift=SHIFT)), atol=1e-3
    )


def test_an_organ_with_a_lower_logit_is_smaller_and_nothing_else_is_written(bundle, tmp_path):
    shifted = shift_bundle(bundle, tmp_path / "s", logit_shift={"Liver": -0.5}, card={"why": "big"})
    image = blobs((20, 40, 44), (6.0, 4.0, 4.0))
    before, after = (
        Segmenter(one, postprocess=())(image).organs["liver"].volume_ml for one in (bundle, shifted)
    )
    assert after < before
    model = open_model(shifted)
    assert model.hash != open_model(bundle).hash
    assert model.networks[0].spec.logit_shift == {"liver": -0.5}
    assert model.card["why"] == "big"
    assert model.card["cases"] == 7
    assert "- logits shifted: liver: -0.5" in (shifted / "card.md").read_text()
    again = shift_bundle(shifted, tmp_path / "t", logit_shift={"aorta": 1.0})
    assert open_model(again).networks[0].spec.logit_shift == {"aorta": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shift", "lever=-1"], "no class 'lever'"),
        (["--shift", "liver=-11"], "expected -10 to 10"),
        (["--shift", "liver=nan"], "expected -10 to 10"),
        (["--shift", "liver"], "expected a class and a number each"),
        (["--shift", "liver=-1", "--no-torch"], "--no-torch does not go with --shift"),
        (["--shift", "liver=-1", "--onnx"], "--shift does not go with --onnx"),
    ],
)
def test_what_cannot_be_shifted_is_one_line(bundle, tmp_path, capfd, options, message):
    assert main(["export", str(bundle), "-o", str(tmp_path / "out"), *options]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_shifts_a_bundle(bundle, folder, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(bundle), "-o", str(out), "--shift", "liver=-1,spleen=0.5"]) == 0
    assert open_model(out).networks[0].spec.logit_shift == {"liver": -1.0, "spleen": 0.5}
    with pytest.raises(InputError, match="is no bundle"):
        shift_bundle(folder, tmp_path / "x", logit_shift=SHIFT)
