"""Reading nnU-Net v2 model folders: plans.json, dataset.json, fold_K/checkpoint_final.pth."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnstudent.bundle.labels import classes_of, has_regions
from nnstudent.bundle.spec import (
    Architecture,
    NetworkSpec,
    Normalization,
    Orientation,
    Resampling,
    Scheme,
)
from nnstudent.bundle.weights import Weights, load_checkpoint, weights_of
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint_final.pth"
_SCHEMES: dict[str, Scheme] = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale",
}
_AS_STORED = ("SimpleITKIO", "NibabelIO")  # readers that keep the axes as stored
_REORIENTED = ("NibabelIOWithReorient",)  # readers that reorient to RAS


@dataclass(frozen=True)
class Folder:
    """An opened model folder.

    Attributes:
        path: The folder.
        spec: The specification that its folds share.
        taxonomy: The label table of its classes.
        checkpoints: Fold name → file.
        trust_pickle: Whether its checkpoints may hold any pickle.
    """

    path: Path
    spec: NetworkSpec
    taxonomy: Taxonomy
    checkpoints: Mapping[str, Path]
    trust_pickle: bool

    def weights(self, fold: str) -> Weights:
        """One fold's weights, float32.

        Raises:
            InputError: They cannot be read or are not finite.
        """
        path = self.checkpoints[fold]
        return weights_of(load_checkpoint(path, trust_pickle=self.trust_pickle), path=path)

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


def inside(path: Path, *, marks: tuple[str, ...] = ("plans.json",)) -> str:
    """The end of an error about a folder that is no model: the models in it.

    Args:
        path: The folder.
        marks: Files by which a model is recognized.
    """
    models = sorted(
        folder.name for folder in path.iterdir() if any((folder / mark).is_file() for mark in marks)
    )
    return (
        f"; {' and '.join(models)} in it {'are' if len(models) > 1 else 'is'}, name one"
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
    checkpoint = load_checkpoint(first, trust_pickle=trust_pickle)
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
        plans, dataset, configuration=configuration, name=path.name, source=source
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
    return Folder(path, spec, taxonomy, checkpoints, trust_pickle)


def from_nnunet(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    *,
    configuration: str,
    name: str,
    source: Mapping[str, Any] | None = None,
) -> tuple[NetworkSpec, Taxonomy]:
    """The network that nnU-Net's plans and dataset specify, and its label table.

    Args:
        plans: nnU-Net's plans.json.
        dataset: nnU-Net's dataset.json.
        configuration: Name of the configuration.
        name: Name of the model, for errors and for its label table.
        source: Facts about its origin, for people.

    Raises:
        InputError: They are malformed, or need what is not supported: several input channels, 2D, a
            cascade, an unknown normalization, resampling or reader, or plans older than nnU-Net
            v2.2.
    """
    try:
        return _from_nnunet(
            plans, dataset, configuration=configuration, name=name, source=source or {}
        )
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        StopIteration,
    ) as error:
        raise InputError(
            f"{name}: plans.json or dataset.json is malformed ({type(error).__name__}: {error})"
        ) from error


def _from_nnunet(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    *,
    configuration: str,
    name: str,
    source: Mapping[str, Any],
) -> tuple[NetworkSpec, Taxonomy]:
    settings = _configuration(plans, configuration, name)
    if "architecture" not in settings:
        raise InputError(
            f"{name}: plans.json has no architecture; "
            "plans from before nnU-Net v2.2 are not supported, plan and train again"
        )
    if settings.get("previous_stage"):
        raise InputError(
            f"{name}: {configuration} is the second stage of a cascade; "
            "only single-stage models are supported"
        )
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise InputError(
            f"{name}: takes {len(channels)} input channels; only one, CT, is supported"
        )
    if len(settings["patch_size"]) != 3:
        raise InputError(
            f"{name}: {configuration} is {len(settings['patch_size'])}D; "
            "only 3D configurations are supported"
        )
    classes, taxonomy = classes_of(dataset, name=name)
    try:
        spec = _spec(
            plans,
            settings,
            classes=classes,
            name=name,
            source=source,
            regions=has_regions(dataset),
        )
        return spec, taxonomy
    except InputError as error:
        text = str(error)
        raise InputError(
            text if text.startswith(f"{name}:") else f"{name}: plans.json: {text}"
        ) from error


def _spec(
    plans: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    classes: tuple[str, ...],
    name: str,
    source: Mapping[str, Any],
    regions: bool,
) -> NetworkSpec:
    return NetworkSpec(
        patch=tuple(int(n) for n in settings["patch_size"]),  # type: ignore[arg-type]  # three
        spacing_mm=tuple(float(mm) for mm in settings["spacing"]),  # type: ignore[arg-type]
        orientation=_orientation(str(plans.get("image_reader_writer", "SimpleITKIO")), name),
        transpose=tuple(int(axis) for axis in plans["transpose_forward"]),  # type: ignore[arg-type]
        normalization=_normalization(plans, settings, name),
        image_resampling=_resampling(settings, "resampling_fn_data", name),
        score_resampling=_resampling(settings, "resampling_fn_probabilities", name),
        classes=classes,
        architecture=_architecture(settings["architecture"]),
        source=source,
        regions=regions,
    )


def _architecture(given: Mapping[str, Any]) -> Architecture:
    return Architecture(
        given["network_class_name"], given["arch_kwargs"], tuple(given["_kw_requires_import"])
    )


def _configuration(
    plans: Mapping[str, Any], name: str, model: str, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A configuration, completed by what it inherits."""
    configurations = plans["configurations"]
    if name not in configurations or name in seen:
        raise InputError(
            f"{model}: plans.json has no usable configuration {name!r}; "
            f"it has {', '.join(configurations)}"
        )
    own = dict(configurations[name])
    parent = own.get("inherits_from")
    return _configuration(plans, str(parent), model, (*seen, name)) | own if parent else own


def _orientation(reader: str, name: str) -> Orientation:
    if reader in _REORIENTED:
        return "RAS"
    if reader in _AS_STORED:
        return "stored"
    raise InputError(
        f"{name}: was trained with reader {reader}; "
        f"supported are {', '.join((*_REORIENTED, *_AS_STORED))}"
    )


def _normalization(
    plans: Mapping[str, Any], settings: Mapping[str, Any], name: str
) -> Normalization:
    named = str(settings["normalization_schemes"][0])
    if named not in _SCHEMES:
        raise InputError(
            f"{name}: normalization {named} is not supported; supported are {', '.join(_SCHEMES)}"
        )
    scheme = _SCHEMES[named]
    if scheme != "ct":
        return Normalization(scheme, within_mask=bool(settings["use_mask_for_norm"][0]))
    both = (
        "foreground_intensity_properties_per_channel",
        "foreground_intensity_properties_by_modality",
    )
    facts = next(plans[key] for key in both if key in plans)["0"]
    mean, std, lower, upper = (
        float(facts[key]) for key in ("mean", "std", "percentile_00_5", "percentile_99_5")
    )
    return Normalization("ct", mean, std, lower, upper)


def _resampling(settings: Mapping[str, Any], key: str, name: str) -> Resampling:
    function = str(settings[key])
    given = dict(settings.get(f"{key}_kwargs", {}))
    threshold = float(given.get("separate_z_anisotropy_threshold", 3.0))
    if function == "resample_data_or_seg_to_shape":
        return Resampling(
            int(given.get("order", 3)),
            int(given.get("order_z", 0)),
            given.get("force_separate_z", False),
            threshold,
        )
    if function == "resample_torch_fornnunet" and given.get("mode", "linear") == "linear":
        # torch's trilinear and nearest-exact are order 1 and 0 on the same coordinates.
        nearest = given.get("aniso_axis_mode", "nearest-exact") != "linear"
        return Resampling(1, 0 if nearest else 1, given.get("force_separate_z"), threshold)
    raise InputError(
        f"{name}: {key} is {function}, which is not supported; "
        "supported is resample_data_or_seg_to_shape"
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
