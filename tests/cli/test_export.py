"""The verb export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.cli import main
from nnstudent.inference.segmenter import Segmenter
from tests.reports import read_report


def test_the_command(folder, tmp_path, capfd):
    (tmp_path / "card.json").write_text('{"training_data": "phantoms"}')
    arguments = [
        "export",
        str(folder),
        "-o",
        str(tmp_path / "b"),
        "--card",
        str(tmp_path / "card.json"),
        "--fold",
        "1",
    ]
    assert main([*arguments, "--report", str(tmp_path / "r.json")]) == 0
    assert "1 network, 3 classes" in capfd.readouterr().out
    report = read_report(tmp_path / "r.json", "export")
    assert report["hash"] == open_model(tmp_path / "b").hash
    assert "phantoms" in (tmp_path / "b" / "card.md").read_text()
    (tmp_path / "card.json").write_text("[]")
    assert main(arguments) == 2
    (tmp_path / "file").write_text("in the way")
    assert main(["export", str(folder), "-o", str(tmp_path / "file" / "b")]) == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 2


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("folder", ["--window", "8,8,8"], "--window does not go with an export without --behind"),
        ("folder", ["--near", "5"], "--near does not go without --second or --behind"),
        ("folder", ["--window", "8,8,8", "--second", "x"], "--window does not go with"),
        (
            "folder",
            ["--overlay", "x", "--behind", "bundled"],
            "--overlay does not go with --behind",
        ),
        ("folder", ["--second", "x", "--behind", "bundled"], "--second does not go with --behind"),
        (
            "folder",
            ["--taxonomy", "x", "--behind", "bundled"],
            "--taxonomy does not go with --behind",
        ),
        (
            "folder",
            ["--shift", "liver=1", "--behind", "bundled"],
            "--shift does not go with --behind",
        ),
        ("folder", ["--onnx", "--near", "5"], "--near does not go with --onnx"),
        ("folder", ["--onnx", "--hosts", "x.json"], "--hosts does not go with --onnx"),
        (
            "bundle",
            ["--shift", "liver=1", "--window", "8,8,8"],
            "--window does not go with --shift",
        ),
        ("bundle", ["--shift", "liver=1", "--fold", "1"], "--fold does not go with --shift"),
        (
            "bundle",
            ["--lesion-grid", "3,2,2", "--window", "8,8,8"],
            "--window does not go with --lesion-g",
        ),
        (
            "bundle",
            ["--lesion-grid", "3,2,2", "--near", "5"],
            "--near does not go with --lesion-grid",
        ),
        ("bundle", ["--onnx", "--fold", "1"], "--fold does not go with --onnx of a bundle"),
    ],
)
def test_options_without_effect_are_refused(folder, bundle, tmp_path, capfd, model, words, said):
    path, out = {"folder": folder, "bundle": bundle}[model], tmp_path / "out.onnx"
    assert main(["export", str(path), "-o", str(out), *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line
    assert not out.exists()


def test_without_torch_the_extra_is_named(folder, bundle, monkeypatch, capfd, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert main(["export", str(folder), "-o", str(tmp_path / "b")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "pip install 'nnstudent[torch]'" in line
    Segmenter(bundle)


def test_without_torch_weights_it_is_half_the_size_and_both_engines_run_it(
    folder, bundle, tmp_path
):
    light = export(folder, tmp_path / "light", torch_weights=False)
    assert size(light) < 0.75 * size(bundle)
    assert Segmenter(light, engine="openvino").engine_of(0, 0).name == "openvino"
    window = (
        np.random.default_rng(0)
        .normal(size=Segmenter(light).model.networks[0].spec.patch)
        .astype(np.float32)
    )
    both = [
        Segmenter(light, engine=name).engine_of(0, 0)(window).copy()
        for name in ("openvino", "torch")
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-3)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
