from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.network import build, canonical_names, load_weights, unique_weights
from nnstudent.bundle.nnunet import open_folder
from nnstudent.bundle.weights import load_checkpoint, weights_of
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

torch = pytest.importorskip("torch", reason="reads checkpoints, and torch is not installed")


class Boobytrap:
    """What a malicious checkpoint would hold: unpickling it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def change(copy: Path, **entries: Any) -> Path:
    path = copy / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | entries, path)
    return path


def test_numpy_numbers_are_let_through(folder):
    checkpoint = load_checkpoint(folder / "fold_0" / "checkpoint_final.pth")
    assert checkpoint["logging"]["mean_fg_dice"] == [0.5]


@pytest.mark.parametrize(
    "kind", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]
)
def test_every_kind_of_number(copy, kind):
    path = change(copy, extra=kind(1))
    assert load_checkpoint(path)["extra"] == 1


def test_nothing_is_executed(copy, tmp_path):
    trap = tmp_path / "sprung"
    change(copy, extra=Boobytrap(str(trap)))
    for use in (open_model, Segmenter, lambda path: export(path, tmp_path / "bundle")):
        with pytest.raises(InputError, match="--trust-pickle") as caught:
            use(copy)
        assert "\n" not in str(caught.value)
        assert not trap.exists()
    assert not (tmp_path / "bundle").exists()
    open_model(copy, fold=0, trust_pickle=True)
    assert trap.exists(), "trusting is what it says"


def test_a_network_from_another_package_is_not_imported(copy):
    plans = (copy / "plans.json").read_text()
    (copy / "plans.json").write_text(
        plans.replace(
            "dynamic_network_architectures.architectures.unet.PlainConvUNet", "subprocess.Popen"
        )
    )
    for trust in (False, True):  # trusting a pickle is no leave to import
        with pytest.raises(InputError, match=r"'subprocess\.Popen' is not supported"):
            open_model(copy, trust_pickle=trust)


@pytest.mark.parametrize("name", ["torch.nn.Linear", "dynamic_network_architectures.nowhere.Net"])
def test_a_network_that_is_not_there(copy, name):
    plans = (copy / "plans.json").read_text()
    (copy / "plans.json").write_text(
        plans.replace("dynamic_network_architectures.architectures.unet.PlainConvUNet", name)
    )
    with pytest.raises(InputError, match="is not supported; supported are PlainConvUNet"):
        Segmenter(copy)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(copy, tmp_path, value):
    path = copy / "fold_0" / "checkpoint_final.pth"
    weights = load_checkpoint(path)["network_weights"]
    next(iter(weights.values())).view(-1)[0] = value
    change(copy, network_weights=weights)
    with pytest.raises(InputError, match="NaN or infinity"):
        Segmenter(copy)
    with pytest.raises(InputError, match="NaN or infinity"):
        export(copy, tmp_path / "bundle")


def test_weights_too_large_for_half_precision(copy, tmp_path):
    weights = load_checkpoint(copy / "fold_0" / "checkpoint_final.pth")["network_weights"]
    next(iter(weights.values())).view(-1)[0] = 1e6
    change(copy, network_weights=weights)
    with pytest.raises(InputError, match="too large for float16"):
        export(copy, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "damaged"), (b"not a checkpoint", "damaged"), (None, "no network_weights")],
    ids=["empty", "text", "other"],
)
def test_what_is_no_checkpoint(copy, content, says):
    path = copy / "fold_0" / "checkpoint_final.pth"
    if content is None:
        torch.save({"something": 1}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_model(copy)


def test_a_truncated_checkpoint(copy):
    path = copy / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        open_model(copy)


def test_every_weight_once(folder):
    opened = open_folder(folder, fold=0)
    module = build(opened.spec)
    names = canonical_names(module)
    weights = opened.weights("fold_0")
    unique = unique_weights(module, weights)
    assert len(names) > len(unique) == sum(1 for _ in module.parameters())
    full = load_weights(build(opened.spec), weights, path=folder).state_dict()
    again = load_weights(build(opened.spec), unique, path=folder).state_dict()
    for name, values in full.items():
        assert torch.equal(values, again[name])
        np.testing.assert_array_equal(values.numpy(), weights[name])


def test_weights_saved_from_several_gpus(copy):
    path = copy / "fold_0" / "checkpoint_final.pth"
    checkpoint = load_checkpoint(path)
    renamed = {f"module.{name}": tensor for name, tensor in checkpoint["network_weights"].items()}
    assert set(weights_of({"network_weights": renamed}, path=path)) == set(
        checkpoint["network_weights"]
    )


def test_weights_of_another_network(copy):
    path = copy / "fold_0" / "checkpoint_final.pth"
    weights = dict(load_checkpoint(path)["network_weights"])
    first = next(iter(weights))
    for changed, says in (
        ({k: v for k, v in weights.items() if "decoder.transpconvs.0" not in k}, "lacks"),
        (weights | {"surprise": torch.zeros(1)}, "has surprise"),
        ({k: (v[:1] if k == first else v) for k, v in weights.items()}, "needs"),
    ):
        change(copy, network_weights=changed)
        with pytest.raises(InputError, match=says):
            Segmenter(open_model(copy, fold=0))


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x00" * 99])
def test_bytes_that_are_no_checkpoint_are_named(copy, content):
    """torch says what is wrong with them in a dozen types of exceptions, IndexError among them."""
    path = copy / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"checkpoint_final\.pth: (is damaged|has no network|holds more)"
    ):
        load_checkpoint(path)


def channels_last(folder: Path) -> dict[str, Any]:
    """Turn the weights of a folder channels last, as a training on a processor leaves them."""
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    weights = checkpoint["network_weights"]
    last = {
        name: tensor.to(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor
        for name, tensor in weights.items()
    }
    assert any(not tensor.is_contiguous() for tensor in last.values())
    torch.save({**checkpoint, "network_weights": last}, path)
    return {name: tensor.numpy() for name, tensor in weights.items()}


def test_weights_are_written_in_their_own_order_however_they_lie_in_memory(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path / "model", ISOTROPIC)
    weights = channels_last(folder)
    bundle = export(folder, tmp_path / "bundle")
    (network,) = open_model(bundle).networks
    for name, values in network.members[0].weights().items():
        np.testing.assert_allclose(values, weights[name], rtol=1e-3, atol=1e-3)
    image = blobs((20, 26, 30), (6.0, 6.0, 6.0))
    one, other = (
        Segmenter(bundle, engine=engine)(image).labels.array for engine in ("torch", "openvino")
    )
    assert (one == other).mean() > 0.999


def test_weights_that_are_not_those_of_the_graph_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_they_lie(weights: dict[str, Any], _: Path) -> dict[str, Any]:
        return {name: values.astype(np.float16) for name, values in weights.items()}

    monkeypatch.setattr("nnstudent.bundle.write._as_float16", as_they_lie)
    folder = make_folder(tmp_path / "model", ISOTROPIC)
    channels_last(folder)
    bundle = export(folder, tmp_path / "bundle")
    with pytest.raises(InputError, match=r"conv.weight is not what .*\.xml has; export the bundle"):
        open_model(bundle).networks[0].members[0].weights()
