from __future__ import annotations

import json
import math
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.bundle.architectures import check, find_layer, supported
from nnstudent.bundle.bundle import open_model, sealed
from nnstudent.bundle.network import build
from nnstudent.bundle.plans import from_nnunet
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from tests.inference.folders import ISOTROPIC, architecture, dataset, plans

UNETS = "dynamic_network_architectures.architectures.unet"
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]


def plain() -> dict[str, Any]:
    return architecture(STRIDES)


def own(name: str) -> tuple[str, dict[str, Any]]:
    kwargs = {
        "features": [4, 8],
        "strides": STRIDES[:2],
        "kernels": [[3, 3, 3]] * 2,
        "encoder_convolutions": [1, 1],
    }
    return f"nnstudent.training.networks.{name}", kwargs | {"decoder_convolutions": [1]}


@pytest.mark.parametrize(
    ("class_name", "kwargs"),
    [
        (f"{UNETS}.PlainConvUNet", plain()["arch_kwargs"]),
        (f"{UNETS}.ResidualEncoderUNet", architecture(STRIDES, residual=True)["arch_kwargs"]),
        (f"{UNETS}.ResidualUNet", architecture(STRIDES, residual=True)["arch_kwargs"]),
        own("separable.SeparableUNet"),
        own("strided_stem.StridedStemUNet"),
    ],
)
def test_every_supported_network_is_built(class_name, kwargs):
    torch = pytest.importorskip("torch", reason="builds networks, and torch is not installed")
    pytest.importorskip("dynamic_network_architectures", reason="builds its networks")
    assert class_name in supported()
    network, arguments = check(class_name, kwargs).load()
    module = network(input_channels=1, num_classes=3, **(arguments | {"deep_supervision": False}))
    assert module(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("torch.nn.modules.conv.Conv3d", "convolution"),
        ("torch.nn.Conv3d", "convolution"),
        ("torch.nn.modules.instancenorm.InstanceNorm3d", "normalization"),
        ("torch.nn.BatchNorm3d", "normalization"),
        ("torch.nn.Dropout3d", "dropout"),
        ("torch.nn.modules.activation.GELU", "nonlinearity"),
        ("dynamic_network_architectures.building_blocks.residual.BottleneckD", "block"),
    ],
)
def test_layers_under_the_names_that_nnunet_writes(path, role):
    pytest.importorskip("dynamic_network_architectures", reason="has some of the layers")
    assert find_layer(path, role, "x").load().__name__ == path.rpartition(".")[2]


@pytest.mark.parametrize(
    "path",
    ["torch.utils.collect_env.run", "torch.hub.load", "torch.load", "os.system",
     "torch.nn.Conv3d.__init__", "ReLU", "evil.ReLU", "", "torch.nn.Conv3d",
     "torch.nn.modules.activation.ReLU ", "torch.nn..ReLU", None, 3, ["torch.nn.ReLU"],
     "torch.nn.modules.conv.ReLU"],
)  # fmt: skip
def test_only_a_listed_class_of_the_right_role_is_a_layer(path):
    with pytest.raises(InputError, match="expected a nonlinearity"):
        find_layer(path, "nonlinearity", "nonlin")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surprise": 1}, "takes no argument 'surprise'"),
        ({"nonlin_kwargs": {"command": "touch x"}}, "LeakyReLU takes no argument 'command'"),
        ({"nonlin_kwargs": {"inplace": "yes"}}, "expected true or false"),
        ({"nonlin_kwargs": {"negative_slope": math.inf}}, "expected a number"),
        ({"nonlin": None}, "nonlin_kwargs is given without nonlin"),
        ({"norm_op_kwargs": [1]}, "expected a table"),
        ({"norm_op_kwargs": {"device": "meta"}}, "takes no argument 'device'"),
        ({"n_stages": 10**9}, "expected a whole number from 1 to 12"),
        ({"n_stages": True}, "expected a whole number"),
        ({"features_per_stage": [8, 16, 10**30]}, "expected a whole number"),
        ({"features_per_stage": [8] * 1000}, "a list of 1 to 12"),
        ({"kernel_sizes": [[3, 3, 10**6]] * 3}, "from 1 to 15"),
        ({"strides": [[1, 1, 0]] * 3}, "from 1 to 16"),
        ({"conv_op": "torch.nn.Conv2d"}, "expected a convolution"),
        ({"n_conv_per_stage": "many"}, "expected a whole number"),
    ],
)  # fmt: skip
def test_arguments_are_checked(change, says):
    with pytest.raises(InputError, match=says) as caught:
        check(f"{UNETS}.PlainConvUNet", plain()["arch_kwargs"] | change)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "imported", [["nonlin", "nonlin_kwargs"], ["n_stages"], [3], "conv_op", None]
)
def test_what_nnunet_would_import_is_only_a_class(imported):
    with pytest.raises(InputError, match="import"):
        check(f"{UNETS}.PlainConvUNet", plain()["arch_kwargs"], imported)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["torch.nn.ReLU", "os.system"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    key=st.sampled_from([*plain()["arch_kwargs"], "block", "x"]),
    value=anything,
    class_name=st.sampled_from(supported()) | anything,
)
def test_any_description_is_checked_or_refused(key, value, class_name):
    with suppress(InputError):
        check(class_name, plain()["arch_kwargs"] | {key: value})


def test_an_enormous_network_is_refused_before_it_takes_memory():
    pytest.importorskip("dynamic_network_architectures", reason="builds its networks")
    written = plans(ISOTROPIC)
    kwargs = written["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    kwargs |= {"features_per_stage": [4096] * 3, "kernel_sizes": [[15, 15, 15]] * 3}
    spec, _ = from_nnunet(written, dataset(("liver",)), configuration="3d_fullres", name="big")
    with pytest.raises(InputError, match=r"would have [\d,]+ weights; at most"):
        build(spec)


@pytest.mark.parametrize(
    "change",
    [
        {"strides": [[1, 1, 1]]},
        {"n_stages": 7},
        {"n_conv_per_stage": [1]},
        {"features_per_stage": [8]},
    ],
)
def test_arguments_that_contradict_each_other_are_one_line(change):
    pytest.importorskip("dynamic_network_architectures", reason="builds its networks")
    written = plans(ISOTROPIC)
    written["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= change
    spec, _ = from_nnunet(written, dataset(("liver",)), configuration="3d_fullres", name="odd")
    with pytest.raises(InputError, match="cannot be built") as caught:
        build(spec)
    assert "\n" not in str(caught.value)


def _attack(command: str) -> dict[str, Any]:
    return {"nonlin": "torch.utils.collect_env.run", "nonlin_kwargs": {"command": command}}


def _attacks(trap: Path) -> dict[str, dict[str, Any]]:
    """Architectures that would make ``trap`` if a name from the file were imported and called."""
    command = f"touch {trap}"
    return {
        "nonlin": {"arch_kwargs": plain()["arch_kwargs"] | _attack(command)},
        "norm": {
            "arch_kwargs": plain()["arch_kwargs"]
            | {"norm_op": "torch.utils.collect_env.run", "norm_op_kwargs": {"command": command}}
        },
        "network": {
            "network_class_name": "torch.utils.collect_env.run",
            "arch_kwargs": {"command": command},
            "_kw_requires_import": [],
        },
        "import": {
            "arch_kwargs": plain()["arch_kwargs"] | {"extra": "antigravity"},
            "_kw_requires_import": ["extra"],
        },
    }


@pytest.fixture
def scan(tmp_path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    import numpy as np

    image = np.random.default_rng(0).normal(40, 20, (24, 24, 24)).astype(np.int16)
    nibabel.save(
        nibabel.Nifti1Image(image, np.diag([6.0, 6.0, 6.0, 1.0])), tmp_path / "scan.nii.gz"
    )
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("attack", ["nonlin", "norm", "network", "import"])
@pytest.mark.parametrize("verb", ["segment", "export", "label", "study", "bundle"])
def test_nothing_is_executed_whatever_the_file_names(
    attack, verb, folder, bundle, scan, tmp_path, capfd
):
    pytest.importorskip("torch")
    trap = tmp_path / "sprung"
    model = Path(shutil.copytree(bundle if verb == "bundle" else folder, tmp_path / "model"))
    change = _attacks(trap)[attack]
    if verb == "bundle":
        manifest = json.loads((model / "bundle.json").read_text())
        keys = {
            "network_class_name": "class_name",
            "arch_kwargs": "kwargs",
            "_kw_requires_import": "imported",
        }
        manifest["networks"][0]["spec"]["architecture"] |= {
            keys[key]: value for key, value in change.items()
        }
        (model / "bundle.json").write_text(json.dumps(sealed(manifest)))
    else:
        written = json.loads((model / "plans.json").read_text())
        written["configurations"]["3d_fullres"]["architecture"] |= change
        (model / "plans.json").write_text(json.dumps(written))
    out = tmp_path / "out"
    if verb in ("label", "study"):
        assert (
            main(
                [
                    "phantom",
                    str(tmp_path / "cohort"),
                    "--cases",
                    "2",
                    "--preset",
                    "tiny",
                    "--slices",
                    "12",
                ]
            )
            == 0
        )
        capfd.readouterr()
    command = {
        "segment": [
            "segment",
            str(scan),
            "-o",
            str(out / "labels.nii.gz"),
            "--model",
            str(model),
            "--engine",
            "torch",
        ],
        "bundle": [
            "segment",
            str(scan),
            "-o",
            str(out / "labels.nii.gz"),
            "--model",
            str(model),
            "--engine",
            "torch",
        ],
        "export": ["export", str(model), "-o", str(out)],
        "label": ["label", str(tmp_path / "cohort"), "-o", str(out), "--teacher", str(model)],
        "study": ["study", str(tmp_path / "cohort"), "-o", str(out), "--start", str(model)],
    }[verb]
    assert main(command) == 2
    said = capfd.readouterr()
    assert not trap.exists()
    assert not out.exists() or not list(out.rglob("*.nii.gz"))
    (line,) = [
        line for line in said.err.splitlines() if line.startswith(f"nnstudent {command[0]}:")
    ]
    assert ("bundle.json" if verb == "bundle" else "plans.json") in line
    with pytest.raises(InputError):
        open_model(model)
