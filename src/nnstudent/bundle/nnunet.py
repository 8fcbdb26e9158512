"""Reading nnU-Net v2 model folders: plans.json, dataset.json, fold_K/checkpoint_final.pth."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.conversion import convert_apart
from nnstudent.bundle.facts import checkpoint_facts
from nnstudent.bundle.labels import own_names
from nnstudent.bundle.plans import from_nnunet
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import Weights, load_checkpoint, weights_of
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)

CHECKPOINT, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
PARTS = "parts.json"


@dataclass(frozen=True)
class Folder:
    """An opened model folder.

    Attributes:
        path: The folder.
        spec: The specification that its folds share.
        taxonomy: The label table of its classes.
        checkpoints: Fold name → file.
        own_names: By channel, the class's name in dataset.json.
        trust_pickle: Whether its checkpoints may hold any pickle.
    """

    path: Path
    spec: NetworkSpec
    taxonomy: Taxonomy
    checkpoints: Mapping[str, Path]
    own_names: Mapping[int, str]
    trust_pickle: bool

    @property
    def name(self) -> str:
        """Its name among other models.

        nnU-Net's own name for a folder, ``TRAINER__PLANS__CONFIGURATION``, is the same for many
        models, so the dataset's is taken.
        """
        path = self.path.resolve()
        return path.parent.name if path.parent.name.startswith("Dataset") else path.name

    def weights(self, fold: str) -> Weights:
        """One fold's weights, float32.

        Raises:
            InputError: They cannot be read or are not finite.
        """
        path = self.checkpoints[fold]
        return weights_of(load_checkpoint(path, trust_pickle=self.trust_pickle), path=path)

    def convert_apart(self, fold: str) -> Any:
        """One fold's OpenVINO graph, made in a process of its own; for errors see there."""
        return convert_apart(
            self.checkpoints[fold], self.spec, trust_pickle=self.trust_pickle, path=self.path
        )

    def hash(self, fold: str) -> str:
        """Identity of one fold: plans, dataset and weights, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for path in (self.path / "plans.json", self.path / "dataset.json", self.checkpoints[fold]):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]


def is_folder(path: Path) -> bool:
    """Whether this looks like an nnU-Net model folder."""
    return (path / "plans.json").is_file() or any(path.glob("fold_*"))


def models_in(path: Path, *, marks: tuple[str, ...] = ("plans.json",)) -> tuple[str, ...]:
    """Names of the model folders in and one level below a folder, relative to it.

    Args:
        path: The folder.
        marks: Files by which a model is recognized.
    """
    found = [
        file for mark in marks for file in (*path.glob(f"*/{mark}"), *path.glob(f"*/*/{mark}"))
    ]
    return tuple(sorted({file.parent.relative_to(path).as_posix() for file in found}))


def inside(path: Path, *, marks: tuple[str, ...] = ("plans.json",)) -> str:
    """The end of an error about a folder that is no model: the models in it.

    Args:
        path: The folder.
        marks: Files by which a model is recognized.
    """
    models = models_in(path, marks=marks)
    several = len(models) > 1
    joint = f", or name all in {PARTS} if their labels make one map" if several else ""
    return (
        f"; {' and '.join(models[:5])}{' …' if len(models) > 5 else ''} in it "
        f"{'are' if several else 'is'}, name one{joint}"
        if models
        else ""
    )


def open_folder(path: Path, *, fold: int | str | None = None, trust_pickle: bool = False) -> Folder:
    """Open a model folder.

    Args:
        path: The folder that holds plans.json.
        fold: One fold by its number or ``all``; None for every numbered fold.
        trust_pickle: Also read checkpoints that hold more than tensors and numbers.

    Raises:
        InputError: A file is missing or malformed, or the model is of a kind that is not supported.
        MissingExtraError: torch is not installed.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected an nnU-Net model folder")
    if not is_folder(path):
        raise InputError(
            f"{path}: is no nnU-Net model folder (plans.json, dataset.json, fold_K){inside(path)}"
        )
    for name in ("plans.json", "dataset.json"):
        if not (path / name).is_file():
            raise InputError(
                f"{path}: lacks {name}; an nnU-Net model folder has plans.json, dataset.json "
                f"and fold_K/{CHECKPOINT}"
            )
    checkpoints = _checkpoints(path, fold)
    first = next(iter(checkpoints.values()))
    checkpoint = checkpoint_facts(first, trust_pickle=trust_pickle)
    try:
        configuration = str(checkpoint["init_args"]["configuration"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{first}: does not name its configuration; expected a checkpoint of nnU-Net v2"
        ) from error
    plans = read_json_table(path / "plans.json", what="nnU-Net's plans")
    dataset = read_json_table(path / "dataset.json", what="nnU-Net's dataset")
    source = {
        "trainer": str(checkpoint.get("trainer_name", "")),
        "configuration": configuration,
        "plans": str(plans.get("plans_name", "")),
        "dataset": str(plans.get("dataset_name", "")),
    }
    spec, taxonomy = from_nnunet(
        plans,
        dataset,
        configuration=configuration,
        name=path.name,
        trainer=source["trainer"],
        source=source,
    )
    try:
        spec = replace(
            spec,
            mirror_axes=tuple(
                int(axis) for axis in checkpoint.get("inference_allowed_mirroring_axes") or ()
            ),
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{first}: inference_allowed_mirroring_axes is no list of axes ({error}); "
            "expected a checkpoint of nnU-Net v2"
        ) from error
    return Folder(
        path, spec, taxonomy, checkpoints, own_names(dataset, name=path.name), trust_pickle
    )


def _checkpoints(path: Path, fold: int | str | None) -> dict[str, Path]:
    if fold is not None:
        folders = [path / f"fold_{fold}"]
    else:
        numbered = [p for p in path.glob("fold_*") if p.name.removeprefix("fold_").isdigit()]
        folders = sorted(numbered, key=lambda p: int(p.name.removeprefix("fold_"))) or [
            path / "fold_all"
        ]
    # A fold whose training was interrupted has no final checkpoint and, as in nnU-Net, does not
    # count among all folds.
    finished = {
        folder.name: folder / CHECKPOINT for folder in folders if (folder / CHECKPOINT).is_file()
    }
    if not finished:
        finished = {folder.name: folder / BEST for folder in folders if (folder / BEST).is_file()}
        for file in finished.values():
            log.warning(
                "%s: has no %s; takes %s, the best of its training so far",
                file.parent,
                CHECKPOINT,
                BEST,
            )
    if not finished:
        have = ", ".join(sorted(p.name for p in path.glob("fold_*"))) or "no fold at all"
        raise InputError(
            f"{path}: lacks {folders[0].name}/{CHECKPOINT} (it has {have}); "
            "finish training that fold or name another"
        )
    for folder in folders:
        if folder.name not in finished:
            log.warning(
                "%s: has no %s, so its training did not finish; continues without this fold",
                folder,
                CHECKPOINT,
            )
    return finished
