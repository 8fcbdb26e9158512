"""From an nnU-Net model folder to a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nnstudent
from nnstudent.bundle import graph, nnunet
from nnstudent.bundle.bundle import FORMAT, MANIFEST, content_hash, open_model, read_bundle, sealed
from nnstudent.bundle.card import write_card
from nnstudent.bundle.network import build, load_weights, unique_weights
from nnstudent.bundle.quantise import MEAN_LOSS, WORST_LOSS, Sampling, compare, quantise, quantiser
from nnstudent.bundle.spec import HostRule, NetworkSpec
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError, require
from nnstudent.io.atomic import replacing_folder, write_json
from nnstudent.io.lock import writing
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy, find_classes
from nnstudent.volume import Shape

# Graph and torch must agree to this share of the largest logit; float16 weights alone cost about a thousandth.
TOLERANCE = 0.02
CONTEXT_MM = 20.0  # how far beyond what the first stage of a cascade found the second one sees


def export(
    model: Path,
    out: Path,
    *,
    overlay: Sequence[Path] = (),
    second: Path | None = None,
    context_mm: float = CONTEXT_MM,
    fold: int | str = "0",
    taxonomy: Taxonomy | None = None,
    card: Mapping[str, Any] | None = None,
    torch_weights: bool = True,
    int8: Sampling | None = None,
    trust_pickle: bool = False,
    progress: Progress = silent,
) -> Path:
    """Turn an nnU-Net model folder into a bundle.

    Args:
        model: The nnU-Net model folder.
        out: The bundle's folder, replaced as a whole.
        overlay: Further model folders; their foreground is laid over that of the ones before (tumor over organ).
        second: The second stage of a cascade: a model folder of some of the classes, which sees only the box around what ``model`` found of
            them, and decides on them there.
        context_mm: How far beyond it the second stage sees.
        fold: Which fold of each.
        taxonomy: Label table of the bundle's results, which has all classes of the models; None for the models' own.
        card: Facts for the model card, such as ``training_data``; plain data.
        torch_weights: Whether the torch engine can run the bundle too; without it has half the size.
        int8: Windows to quantise each network on and to compare it on, such as
            ``partial(nnstudent.inference.calibration.sample_cohort, cohort)``; without, the bundle has no int8.
        trust_pickle: Also read checkpoints that hold more than tensors and numbers.
        progress: Told after each network.

    Returns:
        ``out``.

    Raises:
        InputError: A model folder lacks a file or is of a kind that is not supported, the label tables differ, or int8 loses too much.
        OutputError: ``out`` cannot be written, or is neither a bundle nor empty.
        MissingExtraError: torch, or NNCF for int8, is not installed.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(
            f"{out}: is a folder of something else than a bundle; name a new folder, for it would be replaced"
        )
    paths = (model, *([] if second is None else [second]), *overlay)
    for path in paths:
        if (path / MANIFEST).is_file():
            raise InputError(
                f"{path}: is a bundle already; expected the nnU-Net model folder that it was made of"
            )
    folders = [nnunet.open_folder(path, fold=fold, trust_pickle=trust_pickle) for path in paths]
    if second is not None:
        folders[1] = replace(folders[1], spec=replace(folders[1].spec, context_mm=context_mm))
        if not set(folders[1].spec.foreground) <= set(folders[0].spec.foreground):
            raise InputError(
                f"{second}: finds {', '.join(folders[1].spec.foreground)}, of which {model} does not find all; "
                "the second stage of a cascade looks where the first found its classes"
            )
    taxonomy = _common_taxonomy(
        folders if taxonomy is None else [replace(folder, taxonomy=taxonomy) for folder in folders]
    )
    if int8 is not None:
        quantiser()  # that it is missing is told before anything is converted and a cohort is read
    names = _names([folder.path.resolve().name for folder in folders])
    with writing(out, beside=True), replacing_folder(out) as temporary:
        (temporary / "networks").mkdir()
        rows = []
        for done, (name, folder) in enumerate(zip(names, folders, strict=True), start=1):
            rows.append(
                _write_network(
                    temporary,
                    name,
                    folder,
                    torch_weights=torch_weights,
                    int8=int8,
                    progress=progress,
                )
            )
            progress("export", done, len(folders))
        facts = dict(card or {})
        manifest = {
            "format": FORMAT,
            "made_by": f"nnstudent {nnstudent.__version__}",
            "networks": rows,
            "taxonomy": taxonomy.to_dict(),
            "card": facts,
        }
        write_json(temporary / MANIFEST, sealed(manifest))
        write_card(temporary / "card.md", read_bundle(temporary), title=out.resolve().name)
    return out


def add_lesion_stage(
    bundle: Path | None,
    stage: Path,
    out: Path,
    *,
    hosts: Mapping[str, HostRule],
    context_mm: float = CONTEXT_MM,
    window: Shape | None = None,
    fold: int | str = "0",
    card: Mapping[str, Any] | None = None,
    torch_weights: bool = True,
    int8: Sampling | None = None,
    trust_pickle: bool = False,
    progress: Progress = silent,
) -> Path:
    """Put a lesion stage behind the networks of a bundle.

    Args:
        bundle: The bundle that finds the organs; None for the student that comes with the package.
        stage: nnU-Net model folder of the lesion stage: it finds a lesion class, and perhaps organs, on which nobody asks it.
        out: The new bundle's folder, replaced as a whole.
        hosts: The organs that it looks for lesions in and around, each with its rule.
        context_mm: How far around them it sees.
        window: Voxels of a window, (z, y, x), where another size than that of the training serves better; it must suit the network.
        fold: Which fold of the stage.
        card: Facts for the model card, beside those that the bundle has.
        torch_weights: See :func:`export`, as for all that is not here.
        int8: See there.
        trust_pickle: See there.
        progress: See there.

    Returns:
        ``out``.

    Raises:
        InputError: The bundle lacks a host, the stage finds no lesion, or see :func:`export`.
        OutputError: See there.
        MissingExtraError: See there.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(
            f"{out}: is a folder of something else than a bundle; name a new folder, for it would be replaced"
        )
    model = open_model(bundle)
    if model.kind != "bundle":
        raise InputError(
            f"{bundle}: is no bundle; export it first, and put the lesion stage behind what comes of it"
        )
    source = nnunet.open_folder(stage, fold=fold, trust_pickle=trust_pickle)
    if not hosts:
        raise InputError(
            f"no hosts; expected organs that {model.path} finds: {', '.join(model.classes)}"
        )
    hosts = {
        find_classes([name], model.classes, where=f"hosts, organs that {model.path} finds")[0]: rule
        for name, rule in hosts.items()
    }
    lesions = [name for name in source.spec.foreground if name in source.taxonomy.lesions]
    if not lesions:
        raise InputError(
            f"{stage}: finds {', '.join(source.spec.foreground)}, none of which is a lesion class"
        )
    if lesions[0] not in model.taxonomy.lesions:
        raise InputError(
            f"{model.path}: its label table {model.taxonomy.name} has no lesion class {lesions[0]}, which {stage} finds; "
            "export it again with a table that has, such as --taxonomy flare23"
        )
    spec = replace(
        source.spec, context_mm=context_mm, hosts=dict(hosts), patch=window or source.spec.patch
    )
    source = replace(source, spec=spec)
    manifest = read_json_table(model.path / MANIFEST, what="a bundle")
    with replacing_folder(out) as temporary:
        shutil.copytree(model.path / "networks", temporary / "networks")
        (name,) = _names([f"{stage.resolve().name}"])
        name = (
            f"{name}_lesions" if any(row["name"] == name for row in manifest["networks"]) else name
        )
        row = _write_network(
            temporary, name, source, torch_weights=torch_weights, int8=int8, progress=progress
        )
        progress("export", 1, 1)
        manifest |= {
            "format": FORMAT,
            "networks": [*manifest["networks"], row],
            "card": {**manifest.get("card", {}), **(card or {})},
        }
        write_json(temporary / MANIFEST, sealed(manifest))
        write_card(temporary / "card.md", read_bundle(temporary), title=out.resolve().name)
    return out


def _write_network(
    folder: Path,
    name: str,
    source: nnunet.Folder,
    *,
    torch_weights: bool,
    int8: Sampling | None,
    progress: Progress,
) -> dict[str, Any]:
    (member,) = source.checkpoints
    weights = source.weights(member)
    module = load_weights(build(source.spec), weights, path=source.checkpoints[member])
    with np.errstate(over="ignore"):  # looked at below
        small = {
            key: values.astype(np.float16)
            for key, values in unique_weights(module, weights).items()
        }
    for key, values in small.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{source.path}: weight {key} is over 65504, too large for float16; the training went wrong"
            )
    stem = folder / "networks" / name
    if torch_weights:
        # as bytes, because the library tells of a full disk in an error of its own
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
    suffixes = [".xml", ".bin", *([".safetensors"] if torch_weights else [])]
    if int8 is not None:
        spec["source"]["int8"] = _write_int8(
            stem, source.spec, int8, model=source.path, progress=progress
        )
        suffixes += [".int8.xml", ".int8.bin"]
    paths = [f"networks/{name}{suffix}" for suffix in suffixes]
    return {
        "name": name,
        "spec": spec,
        "files": {path: content_hash(folder / path) for path in paths},
    }


def _write_int8(
    stem: Path, spec: NetworkSpec, sampling: Sampling, *, model: Path, progress: Progress
) -> str:
    """Quantise the graph that is there; what it costs, for the card."""
    calibration, held_back = sampling(spec)
    network = graph.read(stem.with_name(f"{stem.name}.xml"), spec)
    quantised = quantise(network, calibration)
    loss = compare(network, quantised, held_back, spec, progress=progress)
    if not loss.bearable:
        raise InputError(
            f"{model}: in int8 {loss}; allowed are {MEAN_LOSS:g} and {WORST_LOSS:g}; calibrate with more cases, or export without --int8"
        )
    graph.save(quantised, stem.with_name(f"{stem.name}.int8.xml"))
    return f"calibrated on {len(calibration)} windows; {loss}"


def _check_agrees(module: Any, path: Path, patch: Shape, model: Path) -> None:
    """Run one window of noise through both: a graph that computes something else must not leave the house."""
    torch = require("torch", extra="torch", why="export")
    window = np.random.default_rng(0).standard_normal((1, 1, *patch)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(window)).numpy()
    core = graph.openvino()
    got = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(window)[0]
    error = float(np.abs(got - expected).max()) / max(float(np.abs(expected).max()), 1e-6)
    if not error <= TOLERANCE:
        raise InputError(
            f"{model}: OpenVINO's result differs from torch's by {error:.1%} of the largest logit; it cannot be exported"
        )


def _common_taxonomy(folders: Sequence[nnunet.Folder]) -> Taxonomy:
    first = folders[0].taxonomy
    for folder in folders:
        if missing := [
            name
            for name in folder.spec.foreground
            if folder.taxonomy == first and name not in first.names
        ]:
            raise InputError(
                f"{folder.path}: finds {', '.join(missing[:5])}, which label table {first.name} lacks; give a table with all"
            )
    for other in folders[1:]:
        if other.taxonomy != first and not set(other.spec.foreground) <= set(first.names):
            raise InputError(
                f"{other.path}: finds {', '.join(other.spec.foreground)}, but the label table of {folders[0].path} is "
                f"{first.name} without them; models that are laid over each other share a label table; "
                "name one that has all their classes with --taxonomy, such as flare23"
            )
    return first


def _names(stems: Sequence[str]) -> list[str]:
    names: list[str] = []
    for stem in stems:
        clean = (
            "".join(c if c.isalnum() or c in "-_" else "_" for c in stem).strip("_") or "network"
        )
        names.append(clean if clean not in names else f"{clean}_{len(names) + 1}")
    return names
