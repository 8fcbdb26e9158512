"""A network's last layer, run after windows are summed instead of before."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.bundle import graph
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.network import build, load_weights
from nnstudent.inference.engines.head import Head
from nnstudent.inference.segmenter import Segmenter
from nnstudent.inference.windows import accumulator
from nnstudent.inference.windows.guided import guided
from nnstudent.inference.windows.sliding import dense, slide, stream
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

RNG = np.random.default_rng(0)
HEAD = Head(
    RNG.standard_normal((9, 3)).astype(np.float32), RNG.standard_normal(9).astype(np.float32)
)
PATCH = (8, 8, 10)
IMAGE = RNG.standard_normal((30, 12, 17)).astype(np.float32)


def features(window):
    return np.stack([np.cumsum(window, axis=0), -window, window * window])


def planner(name):
    return dense if name == "dense" else guided(spacing_mm=(2.0, 2.0, 2.0), air=None)


@pytest.mark.parametrize("windows", ["dense", "guided"])
@pytest.mark.parametrize("planes", [None, 12, 100])
def test_logits_of_summed_features_are_the_sums_of_logits(monkeypatch, windows, planes):
    monkeypatch.setattr(accumulator, "PIECE_BYTES", 9 * 4 * 12 * 17 * 3)  # three planes
    expected, ran = slide(
        IMAGE, lambda w: HEAD(features(w)), patch=PATCH, classes=9, planner=planner(windows)
    )
    found = np.full_like(expected, np.nan)
    shapes = []

    def take(values, first):
        shapes.append(values.shape[1])
        found[:, first : first + values.shape[1]] = values

    again = stream(
        IMAGE,
        features,
        take,
        patch=PATCH,
        classes=9,
        planner=planner(windows),
        planes=planes,
        head=HEAD,
    )
    assert again == ran
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert max(shapes) == (len(IMAGE) if planes is None else 3)


def test_what_no_window_saw_is_background_whatever_the_bias():
    logits, _ = slide(IMAGE, lambda w: HEAD(features(w)), patch=PATCH, classes=9)
    taken = []
    stream(
        IMAGE,
        features,
        lambda values, first: taken.append(values),
        patch=PATCH,
        classes=9,
        planner=lambda canvas, run_window: run_window((0, 0, 0)),
        head=HEAD,
    )
    assert (taken[0][0, 8:] == 1).all()
    assert (taken[0][1:, 8:] == 0).all()
    assert taken[0].shape == logits.shape


def test_windows_are_compared_by_their_logits():
    def compared(network, head):
        seen = []

        def compare(before, window):
            seen.append((before.argmax(0), window.argmax(0)))

        stream(IMAGE, network, lambda *_: None, patch=PATCH, classes=9, compare=compare, head=head)
        return [
            np.concatenate([part.ravel() for part in parts]) for parts in zip(*seen, strict=True)
        ]

    for one, other in zip(
        compared(lambda w: HEAD(features(w)), None), compared(features, HEAD), strict=True
    ):
        assert len(one) > 1000
        assert (one == other).mean() > 0.999


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A network of 8 features and 20 classes."""
    names = tuple(f"class_{k}" for k in range(1, 20))
    folder = tmp_path_factory.mktemp("models") / "many"
    return make_folder(folder, ISOTROPIC, classes=names, seed=3)


@pytest.fixture(scope="module")
def isotropic(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "isotropic", ISOTROPIC)


def test_a_network_of_many_classes_is_run_without_its_last_layer(many, isotropic):
    image = blobs((60, 24, 30), (5.0, 4.0, 4.0))
    ours, torch = (Segmenter(many, engine=name, threads=1) for name in ("openvino", "torch"))
    assert ours.runner.summed_channels(0) == 8
    assert torch.runner.summed_channels(0) == 20
    assert Segmenter(isotropic, threads=1).runner.summed_channels(0) == 4
    window = RNG.standard_normal(ISOTROPIC["patch_size"]).astype(np.float32)
    np.testing.assert_allclose(
        ours.engine_of(0, 0)(window), torch.engine_of(0, 0)(window), atol=2e-4
    )
    found, expected = (one(image) for one in (ours, torch))
    assert len(np.unique(expected.labels.array)) > 5
    assert (found.labels.array == expected.labels.array).mean() > 0.9999
    for name, facts in expected.organs.items():
        assert found.organs[name].confidence == pytest.approx(facts.confidence, abs=1e-3)
    np.testing.assert_allclose(ours.predict(image).values, torch.predict(image).values, atol=2e-4)


def test_a_graph_that_ends_otherwise_stays_whole(many):
    import torch

    network = open_model(many).networks[0]
    module = load_weights(build(network.spec), network.members[0].weights(), path=many)
    whole = graph.convert(module, network.spec)
    cut = graph.without_last_layer(whole)
    assert cut is not None
    head = module.decoder.seg_layers[-1]
    np.testing.assert_array_equal(cut[1], head.weight.detach().numpy()[:, :, 0, 0, 0])
    np.testing.assert_array_equal(cut[2], head.bias.detach().numpy())
    with_relu = graph.convert(torch.nn.Sequential(module, torch.nn.ReLU()), network.spec)
    assert graph.without_last_layer(with_relu) is None
    three = torch.nn.Conv3d(1, len(network.spec.classes), 3, padding=1)
    assert graph.without_last_layer(graph.convert(three, network.spec)) is None
