"""The package's own networks: built, trained, exported, and loaded by stock nnU-Net."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.network import build
from nnstudent.cohort.cohort import Cohort
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image
from nnstudent.pipeline.preset import Preset
from nnstudent.training.design.describe import count
from nnstudent.training.networks.separable import SeparableUNet, separable
from nnstudent.training.networks.strided_stem import StridedStemUNet
from nnstudent.training.plans import OWN_NETWORKS, architecture
from nnstudent.training.provenance import task_source
from nnstudent.training.recipe import Network
from nnstudent.training.task import organ_task
from nnstudent.training.teach import teach
from nnstudent.training.train import train
from tests.inference.stock import stock_labels
from tests.training.conftest import tiny_recipe

KINDS = tuple(OWN_NETWORKS)
STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
NETWORK = Network(
    (4, 6, 8, 10),
    STRIDES,
    ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    (1, 2, 2, 2),
    (2, 1, 2),
    kind="separable",
)


def built(kind: str, *, deep_supervision: bool = False) -> nn.Module:
    torch.manual_seed(0)
    network = {"separable": SeparableUNet, "strided_stem": StridedStemUNet}[kind]
    module = network(
        1,
        3,
        deep_supervision=deep_supervision,
        **architecture(replace(NETWORK, kind=kind))["arch_kwargs"],
    )
    return module.apply(module.initialize).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_every_resolution_in_training_and_of_the_finest_after(kind: str) -> None:
    module = built(kind, deep_supervision=True)
    window = torch.randn(2, 1, 8, 16, 24)
    many = module(window)
    assert [tuple(scores.shape) for scores in many] == [
        (2, 3, 8, 16, 24),
        (2, 3, 8, 8, 12),
        (2, 3, 4, 4, 6),
    ]
    module.decoder.deep_supervision = False  # as nnU-Net's trainer switches it
    torch.testing.assert_close(module(window), many[0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    module = built(kind, deep_supervision=True).train()
    sum(scores.square().mean() for scores in module(torch.randn(1, 1, 8, 16, 24))).backward()
    still = [
        name
        for name, weight in module.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    # a bias in front of a norm is taken away by it, in nnU-Net's networks too
    assert [name for name in still if not name.endswith("bias")] == []


def test_a_separable_layer_is_the_convolution_whose_kernel_is_a_product() -> None:
    torch.manual_seed(0)
    layer = separable(3, 5, (3, 3, 3), (2, 1, 1))
    along, across = layer[0], layer[1]
    whole = torch.einsum("fc,czyx->fczyx", across.weight[:, :, 0, 0, 0], along.weight[:, 0])
    maps = torch.randn(1, 3, 6, 5, 4)
    expected = nn.functional.conv3d(maps, whole, across.bias, stride=(2, 1, 1), padding=1)
    torch.testing.assert_close(across(along(maps)), expected, atol=1e-5, rtol=1e-5)


def test_what_they_cost() -> None:
    patch = (32, 64, 64)
    plain = Network(
        (16, 32, 64, 128),
        ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        decoder_convolutions=(2, 2, 1),
    )
    of = {kind: count(replace(plain, kind=kind), patch, classes=14) for kind in ("plain", *KINDS)}
    assert of["separable"][0] < of["plain"][0] / 5
    assert of["separable"][1] < of["plain"][1] / 4
    assert of["strided_stem"][1] < of["plain"][1] / 1.25


@pytest.fixture(scope="module", params=KINDS)
def taught(
    request: pytest.FixtureRequest,
    balls: Cohort,
    preset: Preset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    recipe = tiny_recipe()
    recipe = replace(recipe, network=replace(recipe.network, kind=request.param))
    return teach(
        balls, out, replace(preset.teaching, organs=recipe), target="organs", folds=[0]
    ).models[0]


def test_a_bundle_computes_what_the_model_folder_does(taught: Path, tmp_path: Path) -> None:
    bundle = open_model(export(taught, tmp_path / "bundle", torch_weights=False, fold=0))
    spec = bundle.networks[0].spec
    window = np.random.default_rng(0).standard_normal((1, 1, *spec.patch)).astype(np.float32)
    folder = open_model(taught, fold=0).networks[0].members[0].weights()
    kept = (
        bundle.networks[0].members[0].weights()
    )  # of a bundle without torch they are read from its graph
    module = build(spec)
    for name in kept:
        np.testing.assert_allclose(kept[name], folder[name], atol=2e-3, rtol=1e-3)
    module.load_state_dict(
        {name: torch.from_numpy(kept.get(name, folder[name])) for name in module.state_dict()}
    )
    run = (
        graph.openvino()
        .Core()
        .compile_model(
            bundle.networks[0].members[0].graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
    )
    with torch.inference_mode():
        np.testing.assert_allclose(
            run(window)[0], module(torch.from_numpy(window)).numpy(), atol=2e-2
        )


def test_a_training_begins_from_a_bundle_of_it(taught: Path, balls: Cohort, tmp_path: Path) -> None:
    start = open_model(export(taught, tmp_path / "bundle", torch_weights=False, fold=0))
    kind = architecture_of(taught)
    recipe = tiny_recipe(epochs=1, iterations=1, lr=0.0, weight_decay=0.0)
    recipe = replace(recipe, network=replace(recipe.network, kind=kind))
    model = tmp_path / "model"
    train(organ_task(balls, recipe, folds=1), model, tmp_path / "work", start=start)
    ours, theirs = (
        open_model(path, fold=0).networks[0].members[0].weights() for path in (model, taught)
    )
    inner = [name for name in theirs if "seg_layers" not in name and name.endswith("weight")]
    assert len(inner) > 5
    for name in inner:
        np.testing.assert_allclose(ours[name], theirs[name], atol=2e-3, rtol=1e-3)


def test_stock_nnunet_runs_the_model_folder_where_this_package_is_installed(
    taught: Path, balls: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = balls["test"].image
    image = read_image(path)
    theirs = stock_labels(taught, path, tmp_path, monkeypatch, folds=(0,)).array
    segmenter = Segmenter(taught, windows="dense", postprocess=())
    names = segmenter.model.networks[0].spec.classes
    table = segmenter.model.taxonomy
    ours = segmenter(image).labels.array
    stored = np.array([0, *(table[name].id for name in names[1:])])[theirs]
    assert (
        ours == stored
    ).mean() > 0.98  # after four steps of training the scores of many voxels are nearly tied


def architecture_of(model: Path) -> str:
    name = open_model(model, fold=0).networks[0].spec.architecture.class_name
    return next(kind for kind, path in OWN_NETWORKS.items() if path == name)


def test_a_model_from_before_there_were_kinds_is_not_made_again(
    balls: Cohort, tmp_path: Path
) -> None:
    task = organ_task(balls, tiny_recipe(), folds=1)
    assert "kind" not in task_source(task, tmp_path / "hashes.json")["recipe"]["network"]
    other = replace(
        task, recipe=replace(task.recipe, network=replace(task.recipe.network, kind="separable"))
    )
    assert task_source(other, tmp_path / "hashes.json")["recipe"]["network"]["kind"] == "separable"
