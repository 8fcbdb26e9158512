from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import FORMAT, content_hash, open_model, relabeled, sealed
from nnstudent.bundle.export import export
from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels, write_image
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from tests.conftest import ROOT
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.reports import read_report


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


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


def test_a_graph_whose_weights_are_not_finite_is_one_line_before_any_window(copy):
    path = copy / "networks" / "model.bin"
    weights = np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], np.float16).copy()
    weights[: len(weights) // 2] = np.nan
    path.write_bytes(weights.tobytes())
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["files"]["networks/model.bin"] = content_hash(path)
    edit(copy, **manifest)
    with pytest.raises(InputError, match=r"model\.xml: weight .* holds NaN or infinity"):
        Segmenter(copy)


@pytest.mark.parametrize(
    "change", [{"patch": [16, 16, 16]}, {"classes": ["background", "liver", "spleen"]}]
)
def test_a_graph_of_another_network_than_the_manifest_says(copy, change):
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["spec"] |= change
    edit(copy, **manifest)
    with pytest.raises(InputError, match=r"model\.xml: takes \[.* and gives \[.*; expected"):
        Segmenter(copy)


def test_a_graph_in_another_format_is_not_opened(copy):
    path = copy / "networks" / "model.xml"
    path.write_bytes(b"\x08\x07\x12\x07pytorch" + path.read_bytes())
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["files"]["networks/model.xml"] = content_hash(path)
    edit(copy, **manifest)
    with pytest.raises(InputError, match="no graph in OpenVINO's own format"):
        Segmenter(copy)


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


def test_doctor_tells_what_there_is(tmp_path, capfd):
    assert main(["doctor", "--report", str(tmp_path / "r.json")]) == 0
    out = capfd.readouterr().out
    report = read_report(tmp_path / "r.json", "doctor")
    assert report["engines"]["openvino"].startswith("works on CPU")
    assert report["packages"]["numpy"] in out
    assert report["memory_gb"] > 0.5


def test_doctor_names_the_extra_that_is_missing(monkeypatch, capfd):
    from nnstudent.cli import doctor

    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name in ("torch", "pydicom") else "1.0"
    )
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert "pip install 'nnstudent[torch]'" in out
    assert "pip install 'nnstudent[dicom]'" in out


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
