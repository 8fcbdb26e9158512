"""The bundle's format, and opening any model that `segment` can run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from nnstudent.bundle import nnunet
from nnstudent.bundle.graph import read as read_graph
from nnstudent.bundle.graph import weights as weights_in
from nnstudent.bundle.network import build, with_neutral
from nnstudent.bundle.parts import open_folders
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import Weights, check_finite
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError, require
from nnstudent.io.archive import ENDING
from nnstudent.io.record import data_hash
from nnstudent.quality.model import QualityModel
from nnstudent.taxonomy import Taxonomy

T = TypeVar("T")
FORMAT = 1
MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Member:
    """One set of weights of a network; an ensemble has several.

    Attributes:
        name: Its name, such as ``fold_0``.
        hash: Identity of its content, 16 hexadecimal digits.
        weights: Reads its weights for torch.
        graph: Its OpenVINO graph; None if it has to be converted from the weights.
        int8: The quantized graph, or None.
        convert_apart: Converts it in a process of its own, see
            :mod:`nnstudent.bundle.conversion`; None where there is a graph.
    """

    name: str
    hash: str
    weights: Callable[[], Weights]
    graph: Path | None = None
    int8: Path | None = None
    convert_apart: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        name: Its name, usable as a file name.
        spec: Its specification.
        members: At least one; their logits are averaged.
        own_names: By channel, the name that the maker of an nnU-Net folder gave the class; empty
            for a bundle.
    """

    name: str
    spec: NetworkSpec
    members: tuple[Member, ...]
    own_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A model that `segment` can run.

    Attributes:
        path: Its folder.
        kind: ``bundle``, or ``nnunet`` for an nnU-Net model folder.
        networks: At least one; the foreground of later ones is laid over that of earlier ones.
        taxonomy: The label table of all their classes.
        card: Facts about its origin.
        bundled: Whether it is the student that comes with the package.
        quality: The calibration of its expected Dice; None if it has none.
    """

    path: Path
    kind: Literal["bundle", "nnunet"]
    networks: tuple[Network, ...]
    taxonomy: Taxonomy
    card: Mapping[str, Any] = field(default_factory=dict)
    bundled: bool = False
    quality: QualityModel | None = None

    @property
    def hash(self) -> str:
        """Identity of the model's content, 16 hexadecimal digits, whatever its place and name."""
        return data_hash(
            [
                [network.spec.to_dict(), [member.hash for member in network.members]]
                for network in self.networks
            ]
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it segments, in the label table's order."""
        return self.taxonomy.sorted(
            name for network in self.networks for name in network.spec.foreground
        )


def open_model(
    path: Path | None = None, *, fold: int | str | None = None, trust_pickle: bool = False
) -> Model:
    """Open a model.

    Args:
        path: A bundle, an nnU-Net model folder, a folder of several with a ``parts.json``
            (:mod:`nnstudent.bundle.parts`), or None for the student that comes with the package.
        fold: Only this fold of an nnU-Net folder; None for the ensemble of all finished folds.
        trust_pickle: Also read checkpoints that hold more than tensors and numbers.

    Raises:
        InputError: There is no model, a file is missing or not as recorded, or the format is
            newer than this version reads.
        MissingExtraError: An nnU-Net folder needs torch, which is not installed.
    """
    if path is None:
        folder = Path(str(files("nnstudent.bundle").joinpath("student")))
        if not (folder / MANIFEST).is_file():
            raise InputError(
                "this installation has no bundled model; "
                "name a bundle or an nnU-Net model folder with --model"
            )
        return read_bundle(folder, bundled=True)
    if (path / MANIFEST).is_file():
        if fold not in (None, 0, "0"):
            raise InputError(
                f"{path}: is a bundle and has no fold {fold}; only nnU-Net model folders have folds"
            )
        return read_bundle(path)
    if not path.is_dir():
        add = f", or add the archive first: nnstudent model add {path}"
        raise InputError(
            f"{path}: {'is a file' if path.exists() else 'no such folder'}; "
            "expected a bundle or an nnU-Net model folder"
            f"{add if path.is_file() and path.suffix.lower() == ENDING else ''}"
        )
    if not nnunet.is_folder(path) and not (path / nnunet.PARTS).is_file():
        hint = nnunet.inside(path, marks=(MANIFEST, "plans.json"))
        raise InputError(
            f"{path}: is no model; expected a bundle ({MANIFEST}) or "
            f"an nnU-Net folder (plans.json, dataset.json, fold_K){hint}"
        )
    folders = open_folders(path, fold=fold, trust_pickle=trust_pickle)
    names = [folder.name for folder in folders] if len(folders) > 1 else [path.name or "network"]
    networks = tuple(_of_folder(name, one) for name, one in zip(names, folders, strict=True))
    return Model(path, "nnunet", networks, folders[0].taxonomy)


def _of_folder(name: str, opened: nnunet.Folder) -> Network:
    members = tuple(
        Member(
            fold,
            opened.hash(fold),
            partial(opened.weights, fold),
            convert_apart=partial(opened.convert_apart, fold),
        )
        for fold in opened.checkpoints
    )
    return Network(name, opened.spec, members, opened.own_names)


def relabeled(model: Model, taxonomy: Taxonomy) -> Model:
    """The same model with its results in another label table.

    Classes are matched by name, and receive the values of the table.

    Raises:
        InputError: The table lacks one of the model's classes.
    """
    lacking = [name for name in model.classes if name not in taxonomy.names]
    if lacking:
        raise InputError(
            f"{model.path}: segments {', '.join(lacking[:5])}{' …' if len(lacking) > 5 else ''}, "
            f"which label table {taxonomy.name} lacks; give --taxonomy a table with all of the "
            "model's classes, or leave it out for the model's own values"
        )
    return replace(model, taxonomy=taxonomy)


def read_bundle(folder: Path, *, bundled: bool = False) -> Model:
    """Open a bundle; the manifest and every file are checked against the recorded hashes.

    The hashes reveal damage and edits. They are no signature: whoever makes a bundle also writes
    its hashes.

    Raises:
        InputError: The manifest is malformed, changed or of a newer format, or a file is missing
            or changed.
    """
    manifest = read_json_table(folder / MANIFEST, what="a bundle")
    version = manifest.get("format")
    if not isinstance(version, int) or isinstance(version, bool):
        raise InputError(
            f"{folder / MANIFEST}: names no format; "
            "expected the manifest of a bundle, export the model again"
        )
    if version > FORMAT:
        raise InputError(
            f"{folder}: bundle format {version}, this version reads up to {FORMAT}; "
            "upgrade with: pip install -U nnstudent"
        )
    _check_seal(folder / MANIFEST, manifest)
    try:
        networks = tuple(_network(folder, row) for row in manifest["networks"])
        taxonomy = _named(folder / MANIFEST, lambda: Taxonomy.from_dict(manifest["taxonomy"]))
        card = _card(manifest)
        quality = _quality(folder / MANIFEST, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / MANIFEST}: malformed ({type(error).__name__}: {error}); "
            "export the model again"
        ) from error
    if not networks:
        raise InputError(f"{folder / MANIFEST}: has no network; export the model again")
    for network in networks:
        _named(folder / MANIFEST, partial(taxonomy.sorted, network.spec.foreground))
    return Model(folder, "bundle", networks, taxonomy, card, bundled, quality)


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with ``sha256``, the hash of all other entries in any order and layout."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return content | {"sha256": hashlib.sha256(text.encode("ascii")).hexdigest()}


def _check_seal(path: Path, manifest: Mapping[str, Any]) -> None:
    if "sha256" not in manifest:
        raise InputError(
            f"{path}: has no sha256 of its content; "
            "export the model again with this version of nnStudent"
        )
    if sealed(manifest)["sha256"] != manifest["sha256"]:
        raise InputError(
            f"{path}: is not what was exported (SHA-256 differs); copy the whole folder again"
        )


def _quality(path: Path, manifest: Mapping[str, Any]) -> QualityModel | None:
    if manifest.get("quality") is None:
        return None
    return QualityModel.from_dict(manifest["quality"], where=f"{path}: quality")


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(path: Path, read: Callable[[], T]) -> T:
    """Call ``read``; its errors name the file."""
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _card(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The model card's facts."""
    card = manifest.get("card", {})
    if not isinstance(card, dict):
        raise TypeError("the card is no table")
    return card


def _network(folder: Path, row: Mapping[str, Any]) -> Network:
    recorded: Mapping[str, str] = row["files"]
    name = str(row["name"])
    suffixes = (".xml", ".bin", ".safetensors", ".int8.xml", ".int8.bin")
    graph, constants, weights, int8, int8_constants = parts = [
        f"networks/{name}{suffix}" for suffix in suffixes
    ]
    allowed = [
        {graph, constants, *some, *more}
        for some in ((), (weights,))
        for more in ((), (int8, int8_constants))
    ]
    if set(recorded) not in allowed:
        raise InputError(
            f"{folder / MANIFEST}: network {name} lists {', '.join(recorded)}; "
            "expected .xml, .bin, maybe .safetensors, and maybe .int8.xml with .int8.bin"
        )
    for file, digest in recorded.items():
        if not (folder / file).is_file():
            raise InputError(
                f"{folder}: lacks {file}, which {MANIFEST} lists; copy the whole folder again"
            )
        if content_hash(folder / file) != digest:
            raise InputError(
                f"{folder / file}: is not what was exported (SHA-256 differs from {MANIFEST}); "
                "copy the whole folder again"
            )
    identity = data_hash([recorded[file] for file in parts if file in recorded])
    quantised = folder / int8 if int8 in recorded else None
    spec = _named(folder / MANIFEST, lambda: NetworkSpec.from_dict(row["spec"]))
    read = partial(_read_weights, folder / weights, folder / graph, spec)
    return Network(name, spec, (Member("fold", identity, read, folder / graph, quantised),))


def _read_weights(path: Path, graph: Path, spec: NetworkSpec) -> Weights:
    """Weights for torch: those beside the graph, or the graph's own if there are none."""
    if not path.is_file():
        return with_neutral(build(spec), weights_in(read_graph(graph, spec)))
    safetensors = require("safetensors", extra="torch", why="the torch engine")
    tensors = require("safetensors.numpy", extra="torch", why="the torch engine")
    try:
        weights: Weights = tensors.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); copy the whole folder again"
        ) from error
    check_finite(weights, path=path)
    # Before it was published, the package wrote some convolutions with their axes in another order.
    for name, values in weights_in(read_graph(graph, spec)).items():
        own = weights.get(name, values)
        if own.shape != values.shape or not np.allclose(own, values, rtol=1e-2, atol=1e-2):
            raise InputError(
                f"{path}: {name} is not what {graph.name} has; export the bundle again, or use the "
                "OpenVINO engine, which runs the latter"
            )
    return weights
