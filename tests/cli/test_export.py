"""The verb export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
