"""Models that were damaged, changed, or made to run code: checkpoints, plans, bundles."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damage import harm, harm_json
from tests.faults.outcome import Attack, Result


class Touch:
    """Unpickled, it calls what makes the canary."""

    def __init__(self, canary: Path, how: int) -> None:
        self._canary, self._how = canary, how

    def __reduce__(self) -> tuple[Any, ...]:
        command = f"touch '{self._canary}'"
        ways: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (
            (os.system, (command,)),
            (eval, (f"__import__('os').system({command!r})",)),
            (open, (str(self._canary), "w")),
            (__import__("subprocess").getoutput, (command,)),
            (__import__("torch.utils.collect_env", fromlist=["run"]).run, (command,)),
        )
        return ways[self._how]


def pickles(chance: Random, folder: Path, sound: Path) -> Attack:
    """Checkpoints that run code when they are unpickled, that hold objects, that are damaged or of
    another network."""
    import torch

    model, canary = folder / "in", folder.with_name(folder.name + ".canary")
    shutil.copytree(sound / "model", model)
    path = model / "fold_0" / "checkpoint_final.pth"
    match chance.randrange(8):
        case 0:
            path.write_bytes(
                pickle.dumps(Touch(canary, chance.randrange(5)), protocol=chance.choice((0, 2, 4)))
            )
        case 1:
            sound_one = torch.load(path, weights_only=False)
            where = sound_one["init_args"] if chance.random() < 0.5 else sound_one
            where[chance.choice(("x", "trainer_name", "network_weights"))] = Touch(
                canary, chance.randrange(5)
            )
            torch.save(sound_one, path)
        case 2:
            _swap_pickle(path, pickle.dumps(Touch(canary, chance.randrange(5)), protocol=2))
        case 3 | 4:
            path.write_bytes(harm(path.read_bytes(), chance))
        case 5:
            state = torch.load(path, weights_only=False)
            weights = state["network_weights"]
            name = chance.choice(sorted(weights))
            weights[name] = chance.choice(
                (
                    weights[name][..., :0],
                    weights[name] * float("nan"),
                    "text",
                    None,
                    weights[name].int(),
                    [1],
                )
            )
            torch.save(state, path)
        case 6:
            made = chance.choice(
                (
                    {},
                    [],
                    None,
                    "x",
                    {"network_weights": {}},
                    {"network_weights": 3},
                    {"state_dict": {}},
                    {"init_args": None},
                )
            )
            torch.save(made, path)
        case 7:
            path.write_bytes(
                chance.choice(
                    (
                        b"",
                        b"\x80",
                        b"PK\3\4",
                        b"\x80\x02}q\0.",
                        b"cos\nsystem\n(S'true'\ntR.",
                        chance.randbytes(3000),
                    )
                )
            )
    return _call(chance, folder, sound, model, canary=canary)


def _swap_pickle(path: Path, content: bytes) -> None:
    """Put another pickle into torch's archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            new.writestr(
                entry.filename, content if entry.filename.endswith("data.pkl") else old.read(entry)
            )
    path.write_bytes(made.getvalue())


def plans(chance: Random, folder: Path, sound: Path) -> Attack:
    """``plans.json`` and ``dataset.json`` of a model, damaged, or naming code."""
    model, canary = folder / "in", folder.with_name(folder.name + ".canary")
    shutil.copytree(sound / "model", model)
    path = model / chance.choice(("plans.json", "plans.json", "dataset.json"))
    text = path.read_text()
    if path.name == "plans.json" and chance.random() < 0.4:
        data = json.loads(text)
        name_code(data, chance, canary)
        path.write_text(json.dumps(data))
    else:
        path.write_bytes(harm_json(text, chance))
    return _call(chance, folder, sound, model, canary=canary)


def name_code(data: Any, chance: Random, canary: Path) -> None:
    """Put the name of code that would make the canary where a plan names a class or a function."""
    configuration = data["configurations"]["3d_fullres"]
    build = configuration["architecture"]["arch_kwargs"]
    command = f"touch '{canary}'"
    name, kwargs = chance.choice(
        (
            ("torch.utils.collect_env.run", {"command": command}),
            ("torch.utils.collect_env.run_lambda", {"run_lambda": "x", "command": command}),
            (
                "torch.hub.load",
                {"repo_or_dir": str(canary.parent), "model": "x", "source": "local"},
            ),
            ("torch.load", {"f": str(canary)}),
            ("torch.nn.modules.module.sys.modules", {}),
            ("torch._C._jit_init", {}),
            ("torch.os.system", {"command": command}),
            ("torch.nn.modules.conv.os.system", {"command": command}),
            ("os.system", {"command": command}),
            ("builtins.open", {"file": str(canary), "mode": "w"}),
            ("torch.nn.LeakyReLU.__init__.__globals__", {}),
            (
                "dynamic_network_architectures.architectures.unet.np.f2py.os.system",
                {"command": command},
            ),
            ("torch.nn.LeakyReLU", {"inplace": {"x": command}}),
            ("torch.nn.LeakyReLU", {"__class__": "os.system"}),
        )
    )
    where = chance.randrange(5)
    if where == 0:
        build["nonlin"], build["nonlin_kwargs"] = name, kwargs
    elif where == 1:
        build["norm_op"], build["norm_op_kwargs"] = name, kwargs
    elif where == 2:
        configuration["architecture"]["network_class_name"] = name
        build |= kwargs
    elif where == 3:
        kind = chance.choice(
            ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
        )
        configuration[kind], configuration[f"{kind}_kwargs"] = name, kwargs
    else:
        configuration[chance.choice(("preprocessor_name", "normalization_schemes"))] = (
            chance.choice((name, [name]))
        )
        data[chance.choice(("image_reader_writer", "label_manager", "experiment_planner_used"))] = (
            name
        )
        build["dropout_op"], build["dropout_op_kwargs"] = name, kwargs


def bundle(chance: Random, folder: Path, sound: Path) -> Attack:
    """Files of a bundle that are not what it was exported with, and what it says of itself."""
    made, canary = folder / "in", folder.with_name(folder.name + ".canary")
    shutil.copytree(sound / "bundle", made)
    engine = chance.choice(("openvino", "torch"))
    used = {"openvino": (".xml", ".bin"), "torch": (".safetensors",)}[engine]
    if chance.random() < 0.5:
        path = chance.choice(
            [path for path in (made / "networks").iterdir() if path.suffix in used]
        )
        before = path.read_bytes()
        path.write_bytes(harm(before, chance))
        changed = path.read_bytes() != before

        def lost(_: Result) -> str | None:
            return f"a changed {path.name} was taken" if changed else None

    else:
        path = made / "bundle.json"
        before = path.read_bytes()
        path.write_bytes(_harm_bundle(before.decode(), chance, canary))
        same = _same(before, path.read_bytes())

        def lost(_: Result) -> str | None:
            return None if same else "a changed bundle.json was taken"

    argv = [
        "segment",
        str(sound / "ct.nii.gz"),
        "-o",
        str(folder / "out.nii.gz"),
        "--model",
        str(made),
        "--engine",
        engine,
        "--threads",
        "1",
    ]
    return Attack(argv, folder, folder / "out.nii.gz", ("in",), canary=canary, lost=lost)


def _harm_bundle(text: str, chance: Random, canary: Path) -> bytes:
    if chance.random() < 0.3:
        data = json.loads(text)
        path = chance.choice(
            ("../../../../etc/passwd", "/dev/zero", "networks/../../x", str(canary))
        )
        network = data["networks"][0]
        match chance.randrange(3):
            case 0:
                network["name"] = path
            case 1:
                for key, value in list(network.items()):
                    if isinstance(value, str | dict):
                        network[key] = (
                            path if isinstance(value, str) else dict.fromkeys(value, path)
                        )
            case 2:
                data = json.loads(
                    text.replace("torch.nn.LeakyReLU", "torch.utils.collect_env.run").replace(
                        "LeakyReLU", "os.system"
                    )
                )
        return json.dumps(data).encode()
    return harm_json(text, chance)


def _same(one: bytes, other: bytes) -> bool:
    """Whether two files of JSON say the same."""
    try:
        return bool(json.loads(one) == json.loads(other.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return False


def _call(chance: Random, folder: Path, sound: Path, model: Path, *, canary: Path) -> Attack:
    out = folder / "out"
    argv = chance.choice(
        (
            [
                "segment",
                str(sound / "ct.nii.gz"),
                "-o",
                str(folder / "out.nii.gz"),
                "--model",
                str(model),
                "--engine",
                "torch",
                "--threads",
                "1",
            ],
            ["export", str(model), "-o", str(out)],
            ["export", str(model), "-o", str(out), "--no-torch"],
            [
                "label",
                str(sound / "cohort"),
                "-o",
                str(out),
                "--teacher",
                str(model),
                "--engine",
                "torch",
                "--threads",
                "1",
            ],
            [
                "study",
                str(sound / "fused"),
                "-o",
                str(out),
                "--start",
                str(model),
                "--plan-only",
                "--preset",
                str(sound / "source" / "preset.toml"),
            ],
        )
    )
    return Attack(argv, folder, out, (), canary=canary)
