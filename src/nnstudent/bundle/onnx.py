"""Export of a network as ONNX, with what a program without this package needs in its metadata."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import nnstudent
from nnstudent.bundle.bundle import Model, Network
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, quoted, require
from nnstudent.io.atomic import replacing

OPSET = 17  # the first with all that is needed here; every onnxruntime since 1.12 runs it
SUFFIX = ".onnx"
_MOST_BYTES = 1_900_000_000  # one ONNX file holds 2 GB
_TOLERANCE = 1e-3  # of the largest logit, between torch and onnxruntime


def export_onnx(model: Model, out: Path) -> Path:
    """Write a model as one ONNX file, and compare what onnxruntime makes of it with torch.

    The graph maps ``image``, (1, 1, z, y, x) float32 of the size of a patch, to ``logits``,
    (1, channel, z, y, x). The metadata (:func:`metadata`) says how images are prepared and what the
    channels are.

    Args:
        model: A model with one network.
        out: The file to write, ending in ``.onnx``.

    Raises:
        InputError: The model has several networks, is too large for one file, or cannot be
            converted; or ``out`` does not end in ``.onnx``.
        OutputError: ``out`` cannot be written.
        MissingExtraError: torch, onnx or onnxruntime is not installed.
    """
    if out.suffix.lower() != SUFFIX:
        raise InputError(f"{out}: expected a file name that ends in {SUFFIX}")
    if len(model.networks) != 1:
        raise InputError(
            f"{model.path}: has {len(model.networks)} networks, and an ONNX file holds one; "
            "export the nnU-Net folders that it was made from one by one"
        )
    for name in ("torch", "onnx", "onnxruntime"):  # before any work
        require(name, extra="onnx", why="export --onnx")
    network = model.networks[0]
    module = load_weights(build(network.spec), network.members[0].weights(), path=model.path)
    size = sum(values.numel() for values in module.parameters()) * 4
    if size > _MOST_BYTES:
        raise InputError(
            f"{model.path}: its weights take {size / 1e9:.1f} GB, and an ONNX file holds 2 GB; "
            "export a bundle instead"
        )
    with replacing(out) as temporary:
        _convert(module, network, temporary)
        _add_metadata(temporary, metadata(model))
        _check_agrees(module, network, temporary, model=model.path)
    return out


def metadata(model: Model) -> dict[str, str]:
    """The metadata that a program needs to run the network, each entry JSON.

    ``axes`` says that arrays are (z, y, x) of an image in ``orientation``; ``transpose`` gives the
    network's axes as indices into them, and ``spacing_mm`` and ``patch`` are in the network's axes.
    ``labels`` gives for each channel its name and its value in a label map.
    """
    spec = model.networks[0].spec
    description = spec.to_dict()
    values = [0, *(model.taxonomy[name].id for name in spec.foreground)]
    entries: dict[str, Any] = {
        "made_by": f"nnstudent {nnstudent.__version__}",
        "model": model.hash,
        "axes": "zyx",
        "labels": [
            {"channel": channel, "name": name, "value": value}
            for channel, (name, value) in enumerate(zip(spec.classes, values, strict=True))
        ],
        "regions": spec.regions,
        **{
            key: description[key]
            for key in (
                "orientation",
                "transpose",
                "spacing_mm",
                "patch",
                "normalization",
                "image_resampling",
                "score_resampling",
                "mirror_axes",
            )
        },
    }
    return {key: json.dumps(value) for key, value in entries.items()}


def _convert(module: Any, network: Network, path: Path) -> None:
    torch = require("torch", extra="onnx", why="export --onnx")
    window = torch.zeros(1, 1, *network.spec.patch)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (window,),
                str(path),
                input_names=["image"],
                output_names=["logits"],
                opset_version=OPSET,
                # The newer exporter needs one more package, and traces the same network.
                dynamo=False,
            )
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{network.spec.architecture.class_name} cannot be converted to ONNX ({quoted(error)})"
        ) from error


def _add_metadata(path: Path, entries: dict[str, str]) -> None:
    onnx = require("onnx", extra="onnx", why="export --onnx")
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, entries)
    onnx.save(graph, path)


def _check_agrees(module: Any, network: Network, path: Path, *, model: Path) -> None:
    torch = require("torch", extra="onnx", why="export --onnx")
    runtime = require("onnxruntime", extra="onnx", why="export --onnx")
    runtime.disable_telemetry_events()  # on Windows it would report to its makers
    noise = np.random.default_rng(0).standard_normal((1, 1, *network.spec.patch))
    window = noise.astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(window)).numpy()
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": window})
    error = float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), 1e-6)
    if not (math.isfinite(error) and error <= _TOLERANCE):
        raise InputError(
            f"{model}: onnxruntime's result differs from torch's by {error:.1%} of the largest "
            "logit; it cannot be exported"
        )
