"""Writing a bundle: a network's files, checked against torch, the manifest and the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.bundle import graph, nnunet
from nnstudent.bundle.bundle import (
    FORMAT,
    MANIFEST,
    Model,
    content_hash,
    open_model,
    read_bundle,
    sealed,
)
from nnstudent.bundle.card import write_card
from nnstudent.bundle.network import build, load_weights, unique_weights
from nnstudent.bundle.quantise import (
    MEAN_LOSS,
    WORST_LOSS,
    Sampling,
    compare,
    quantise,
    with_transposed,
)
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import Weights
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError, require
from nnstudent.io.atomic import write_json
from nnstudent.progress import Progress
from nnstudent.quality.model import QualityModel
from nnstudent.volume import Shape

# Largest difference between graph and torch, as a share of the largest logit; float16 weights alone
# cost about a thousandth.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Contents:
    """The contents of a bundle for each network.

    Attributes:
        torch_weights: Whether it has weights for the torch engine; without them it has half the
            size.
        int8: Gives the windows to quantize a network on and to compare it on; None for no int8.
        progress: Called after each window that is compared.
    """

    torch_weights: bool
    int8: Sampling | None
    progress: Progress


def check_replaceable(out: Path) -> None:
    """Refuse to replace a folder that is neither empty nor a bundle.

    Raises:
        InputError: The folder holds something else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(
            f"{out}: is a folder of something else than a bundle, which would be replaced; "
            "name a new folder"
        )


def open_to_change(bundle: Path | None, out: Path, *, advice: str) -> Model:
    """Open a bundle that is to be written again, after a look at where.

    Args:
        bundle: The bundle; None for the student that comes with the package.
        out: The new bundle's folder.
        advice: What to do with a model that is no bundle, as an imperative.

    Raises:
        InputError: The model is no bundle, or see :func:`check_replaceable`.
    """
    check_replaceable(out)
    model = open_model(bundle)
    if model.kind != "bundle":
        raise InputError(f"{bundle}: is no bundle; {advice}")
    return model


def write_network(
    folder: Path, name: str, source: nnunet.Folder, *, contents: Contents
) -> dict[str, Any]:
    """Write one network's files into a bundle.

    Args:
        folder: The bundle's folder.
        name: The network's name, usable as a file name.
        source: The nnU-Net folder, with a single fold.
        contents: What to write.

    Returns:
        The network's entry in the manifest.

    Raises:
        InputError: A weight does not fit into float16, OpenVINO's result differs from torch's, or
            int8 loses too much.
    """
    (member,) = source.checkpoints
    weights = source.weights(member)
    module = load_weights(build(source.spec), weights, path=source.checkpoints[member])
    small = _as_float16(unique_weights(module, weights), source.path)
    stem = folder / "networks" / name
    if contents.torch_weights:
        # The library reports a full disk by an error of its own, so the file is written here.
        content = require("safetensors.numpy", extra="torch", why="export").save(small)
        stem.with_name(f"{name}.safetensors").write_bytes(content)
    graph.save(graph.convert(module, source.spec), stem.with_name(f"{name}.xml"))
    _check_agrees(module, stem.with_name(f"{name}.xml"), source.spec.patch, source.path)
    spec = source.spec.to_dict()
    spec["source"] = {
        **spec["source"],
        "fold": member.removeprefix("fold_"),
        "hash": source.hash(member),
    }
    suffixes = [".xml", ".bin", *([".safetensors"] if contents.torch_weights else [])]
    if contents.int8 is not None:
        spec["source"]["int8"] = _write_int8(
            stem, source.spec, contents.int8, model=source.path, progress=contents.progress
        )
        suffixes += [".int8.xml", ".int8.bin"]
    paths = [f"networks/{name}{suffix}" for suffix in suffixes]
    return {
        "name": name,
        "spec": spec,
        "files": {path: content_hash(folder / path) for path in paths},
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any], *, title: str) -> None:
    """Seal a bundle whose networks are written, and add its card.

    Args:
        folder: The bundle's folder.
        manifest: The manifest, without its hash.
        title: The card's heading.
    """
    write_json(folder / MANIFEST, sealed(manifest))
    write_card(folder / "card.md", read_bundle(folder), title=title)


def write_changed(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    networks: Sequence[Mapping[str, Any]],
    card: Mapping[str, Any] | None,
    title: str,
) -> None:
    """Seal a bundle that was made from another one.

    Args:
        folder: The new bundle's folder, in which the networks are.
        manifest: The manifest of the bundle before.
        networks: The entries of the networks.
        card: Facts for the model card, added to those of the bundle before.
        title: The card's heading.
    """
    changed = {
        **manifest,
        "format": FORMAT,
        "networks": list(networks),
        "card": {**manifest.get("card", {}), **(card or {})},
    }
    write_manifest(folder, changed, title=title)


def write_quality(folder: Path, quality: QualityModel) -> None:
    """Store a calibration of the expected Dice in a bundle, under its hash, and in its card.

    Args:
        folder: The bundle's folder.
        quality: The calibration; it takes the place of one that is there.

    Raises:
        InputError: The folder is no bundle.
        OutputError: It cannot be written.
    """
    read_bundle(folder)  # what is damaged is not sealed anew
    manifest = read_json_table(folder / MANIFEST, what="a bundle")
    title = _card_title(folder / "card.md") or folder.resolve().name
    write_manifest(folder, {**manifest, "quality": quality.to_dict()}, title=title)


def _card_title(path: Path) -> str:
    if not path.is_file():
        return ""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    return lines[0].removeprefix("# ") if lines else ""


def network_names(stems: Sequence[str]) -> list[str]:
    """Names for networks, unique and usable as file names.

    Args:
        stems: The names that they should have, such as those of their folders.
    """
    names: list[str] = []
    for stem in stems:
        clean = (
            "".join(c if c.isalnum() or c in "-_" else "_" for c in stem).strip("_") or "network"
        )
        names.append(clean if clean not in names else f"{clean}_{len(names) + 1}")
    return names


def _as_float16(weights: Weights, model: Path) -> Weights:
    with np.errstate(over="ignore"):  # checked below
        # In C order: safetensors writes an array's memory as it lies, and convolutions are trained
        # with their channels last.
        small = {key: values.astype(np.float16, order="C") for key, values in weights.items()}
    for key, values in small.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{model}: weight {key} is over 65504, too large for float16; "
                "the training went wrong"
            )
    return small


def _write_int8(
    stem: Path, spec: NetworkSpec, sampling: Sampling, *, model: Path, progress: Progress
) -> str:
    """Quantize the graph that was written; returns its cost, for the card."""
    calibration, held_back = sampling(spec)
    network = graph.read(stem.with_name(f"{stem.name}.xml"), spec)
    precise = quantise(network, calibration)
    quantised = with_transposed(precise)
    loss = compare(network, quantised, held_back, spec, progress=progress)
    if not loss.bearable:  # transposed convolutions then stay in floating point
        quantised = precise
        loss = compare(network, quantised, held_back, spec, progress=progress)
    if not loss.bearable:
        raise InputError(
            f"{model}: in int8 {loss}; allowed are {MEAN_LOSS:g} and {WORST_LOSS:g}; "
            "calibrate with more cases, or export without --int8"
        )
    graph.save(quantised, stem.with_name(f"{stem.name}.int8.xml"))
    return f"calibrated on {len(calibration)} windows; {loss}"


def _check_agrees(module: Any, path: Path, patch: Shape, model: Path) -> None:
    """Compare torch and OpenVINO on one window of noise."""
    torch = require("torch", extra="torch", why="export")
    window = np.random.default_rng(0).standard_normal((1, 1, *patch)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(window)).numpy()
    core = graph.openvino()
    got = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(window)[0]
    error = float(np.abs(got - expected).max()) / max(float(np.abs(expected).max()), 1e-6)
    if not error <= TOLERANCE:
        raise InputError(
            f"{model}: OpenVINO's result differs from torch's by {error:.1%} of the largest logit; "
            "it cannot be exported"
        )
