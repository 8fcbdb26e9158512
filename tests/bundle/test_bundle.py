from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import FORMAT, open_model, sealed
from nnstudent.bundle.export import export
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from tests.conftest import ROOT
from tests.inference.conftest import blobs


def test_what_is_in_a_bundle(bundle, folder):
    assert sorted(
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    ) == [
        "bundle.json",
        "card.md",
        "networks/model.bin",
        "networks/model.safetensors",
        "networks/model.xml",
    ]
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["format"] == FORMAT
    assert (
        manifest["networks"][0]["spec"]["source"]["hash"]
        == open_model(folder, fold=0).networks[0].members[0].hash
    )
    parameters = sum(
        weight.size for weight in open_model(bundle).networks[0].members[0].weights().values()
    )
    assert (bundle / "networks" / "model.bin").stat().st_size < 2.2 * parameters, (
        "weights are float16"
    )
    card = (bundle / "card.md").read_text()
    for words in (
        "Not a medical device",
        "liver, spleen, aorta",
        "training data: phantoms, a few scans",
        "none: it was not calibrated",
        "16×16×24",
    ):
        assert words in card


def test_the_page_of_docs_names_what_is_in_the_manifest(bundle):
    page = (ROOT / "docs" / "reference" / "bundle.md").read_text()
    manifest = json.loads((bundle / "bundle.json").read_text())
    network = manifest["networks"][0]
    for key in (
        *manifest,
        *network,
        *network["spec"],
        *network["spec"]["normalization"],
        *network["spec"]["image_resampling"],
    ):
        assert f"`{key}`" in page, key
    assert re.search(rf"\b[Ff]ormat {FORMAT}\b", page)


def test_the_bundle_says_the_same_as_the_folder(bundle, folder):
    image = blobs((20, 26, 30), (5.0, 4.0, 4.0))
    expected = Segmenter(open_model(folder, fold=0)).predict(image)
    scale = float(np.abs(expected.values).max())
    for engine in ("openvino", "torch"):
        scores = Segmenter(bundle, engine=engine).predict(image)
        assert scores.ids == expected.ids == (0, 1, 2, 3)
        np.testing.assert_allclose(scores.values / scale, expected.values / scale, atol=0.02)
        assert np.abs(scores.values - expected.values).mean() / scale < 2e-3


def test_the_identity_is_of_the_content(bundle, copy, folder, tmp_path):
    assert open_model(copy).hash == open_model(bundle).hash
    assert open_model(export(folder, tmp_path / "other", fold=1)).hash != open_model(bundle).hash


@pytest.mark.parametrize(
    "name", ["networks/model.xml", "networks/model.bin", "networks/model.safetensors"]
)
def test_a_missing_or_changed_file_is_one_line(copy, name):
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="is not what was exported"):
        open_model(copy)
    path.unlink()
    with pytest.raises(InputError, match=f"lacks {name}"):
        open_model(copy)


def edit(copy: Path, **entries: object) -> None:
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(sealed(manifest | entries)))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"format": FORMAT + 1}, "upgrade with: pip install -U nnstudent"),
        ({"format": None}, "names no format"),
        ({"networks": []}, "has no network"),
        (
            {
                "networks": [
                    {
                        "name": "x",
                        "files": {
                            "networks/x.xml": "0",
                            "networks/x.bin": "0",
                            "networks/x.int8.xml": "0",
                        },
                    }
                ]
            },
            "int8.bin",
        ),
        ({"networks": [{"name": "x"}]}, "malformed"),
        (
            {"networks": [{"name": "../x", "files": {"../../etc/passwd": "0"}}]},
            "expected .xml, .bin, maybe .safetensors",
        ),
        ({"taxonomy": {"name": "t", "class": [{"id": 1, "name": "heart"}]}}, "no class"),
    ],
)
def test_a_manifest_that_cannot_be_used(copy, entries, says):
    edit(copy, **entries)
    with pytest.raises(InputError, match=says):
        open_model(copy)


@pytest.mark.parametrize("lacking", [None, "sha256"])
def test_a_manifest_that_was_edited_is_named(copy, lacking):
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["spec"]["spacing_mm"][0] += 1e-9
    if lacking is not None:
        del manifest[lacking]
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"bundle\.json: (is not what was exported|has no sha256)"):
        open_model(copy)


def test_the_layout_of_a_manifest_is_no_change(copy, bundle):
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(
        json.dumps(dict(reversed(manifest.items())), indent=7, ensure_ascii=True)
    )
    assert open_model(copy).hash == open_model(bundle).hash


def test_a_manifest_that_is_no_json(copy):
    (copy / "bundle.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        open_model(copy)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"x")
    with pytest.raises(InputError, match="is a file; expected a bundle or an nnU-Net model folder"):
        open_model(tmp_path / "model.pth")


def test_a_bundle_has_no_folds(bundle):
    with pytest.raises(InputError, match="has no fold 3"):
        open_model(bundle, fold=3)


def test_without_a_model_it_is_the_bundled_student_or_one_line(monkeypatch, tmp_path, bundle):
    monkeypatch.setattr("nnstudent.bundle.bundle.files", lambda package: tmp_path)
    with pytest.raises(InputError, match="no bundled model; name a bundle"):
        open_model()
    shutil.copytree(bundle, tmp_path / "student")
    model = open_model()
    assert model.bundled
    assert not open_model(bundle).bundled
