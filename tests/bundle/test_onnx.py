"""A network as an ONNX file: the labels are OpenVINO's, and the metadata says how to run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.onnx import export_onnx, metadata
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

runtime = pytest.importorskip("onnxruntime", reason="ONNX needs the extra [onnx]")
pytest.importorskip("onnx", reason="ONNX needs the extra [onnx]")
pytest.importorskip("torch", reason="ONNX needs the extra [onnx]")


class OnnxEngine:
    name, precision, restores_on, head = "onnx", "fp32", None, None

    def __init__(self, path: Path) -> None:
        self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, window):
        (logits,) = self.session.run(["logits"], {"image": window[None, None]})
        return logits[0]

    features = __call__

    def release(self) -> None:
        pass


@pytest.mark.parametrize("regions", [False, True])
def test_the_labels_are_openvinos(bundle, tmp_path, regions):
    model = bundle
    if regions:
        model = make_folder(tmp_path / "model", ISOTROPIC, regions=True, seed=7)
    path = export_onnx(open_model(model), tmp_path / "m.onnx")
    image = blobs((20, 40, 44), (6.0, 4.0, 4.0))
    ours = Segmenter(model, precision="fp32", postprocess=())
    expected = ours(image).labels.array
    ours.runner._engines[0, 0] = OnnxEngine(path)
    found = ours(image).labels.array
    assert len(np.unique(expected)) >= 3
    assert (found != expected).mean() < 1e-5  # where two classes are equal to the last digit


def test_the_metadata_is_all_that_a_program_needs(bundle, tmp_path):
    model = open_model(bundle)
    path = export_onnx(model, tmp_path / "m.onnx")
    entries = OnnxEngine(path).session.get_modelmeta().custom_metadata_map
    assert entries == metadata(model)
    about = {key: json.loads(text) for key, text in entries.items()}
    assert about["labels"] == [
        {"channel": 0, "name": "background", "value": 0},
        {"channel": 1, "name": "liver", "value": 1},
        {"channel": 2, "name": "spleen", "value": 2},
        {"channel": 3, "name": "aorta", "value": 3},
    ]
    assert about["normalization"]["lower"] == -160.0
    assert about["orientation"] == "RAS"
    assert about["spacing_mm"] == [6.0, 6.0, 6.0]
    assert about["patch"] == [16, 16, 24]
    assert about["model"] == model.hash


def test_what_cannot_be_one_file_is_one_line(folder, tmp_path, capsys):
    parts = tmp_path / "parts"
    for name in ("a", "b"):
        make_folder(parts / name, ISOTROPIC)
    (parts / "parts.json").write_text('{"parts": ["a", "b"]}')
    with pytest.raises(InputError, match="has 2 networks, and an ONNX file holds one"):
        export_onnx(open_model(parts), tmp_path / "m.onnx")
    out = tmp_path / "out" / "m.onnx"
    for words, says in (
        (["-o", str(tmp_path / "out" / "m")], "ends in .onnx"),
        (["-o", str(out), "--overlay", str(folder)], "--overlay does not go with --onnx"),
    ):
        assert main(["export", str(folder), "--onnx", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert not out.parent.exists()
    assert main(["export", str(folder), "--onnx", "--fold", "1", "-o", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["m.onnx"]
