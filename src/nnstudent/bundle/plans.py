"""nnU-Net's plans.json and dataset.json → the specification of a network and its label table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnstudent.bundle.architectures import UNETS
from nnstudent.bundle.labels import classes_of, has_regions
from nnstudent.bundle.spec import (
    Architecture,
    NetworkSpec,
    Normalization,
    Orientation,
    Resampling,
    Scheme,
)
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, find_classes

_SCHEMES: dict[str, Scheme] = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale",
}
# What the encoder of a network in plans from before nnU-Net v2.3.1 repeats in each stage.
_OLD_BLOCKS = {
    "PlainConvUNet": "n_conv_per_stage",
    "ResidualEncoderUNet": "n_blocks_per_stage",
}
# What nnU-Net's own trainers change about the network of the plans.
_CHANGED_BY: dict[str, dict[str, Any]] = {
    "nnUNetTrainerBN": {
        "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    },
}
_AS_STORED = ("SimpleITKIO", "NibabelIO")  # readers that keep the axes as stored
_REORIENTED = ("NibabelIOWithReorient",)  # readers that reorient to RAS


def from_nnunet(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    *,
    configuration: str,
    name: str,
    trainer: str = "",
    source: Mapping[str, Any] | None = None,
) -> tuple[NetworkSpec, Taxonomy]:
    """The network that nnU-Net's plans and dataset specify, and its label table.

    Plans from before nnU-Net v2.3.1 name the kind of U-Net instead of its architecture
    (``UNet_class_name``); it is completed as nnU-Net itself does.

    Args:
        plans: nnU-Net's plans.json.
        dataset: nnU-Net's dataset.json.
        configuration: Name of the configuration.
        name: Name of the model, for errors and for its label table.
        trainer: Name of the trainer. A few of nnU-Net's change the network of the plans; any other
            name changes nothing, and none is ever imported.
        source: Facts about its origin, for people.

    Raises:
        InputError: They are malformed, or need what is not supported: several input channels, 2D, a
            cascade, an unknown normalization, resampling, reader or network.
    """
    try:
        return _from_nnunet(
            plans,
            dataset,
            configuration=configuration,
            name=name,
            trainer=trainer,
            source=source or {},
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
    trainer: str,
    source: Mapping[str, Any],
) -> tuple[NetworkSpec, Taxonomy]:
    settings = _configuration(plans, configuration, name)
    if "architecture" not in settings and "UNet_class_name" not in settings:
        raise InputError(
            f"{name}: plans.json has neither architecture nor UNet_class_name in {configuration}; "
            "expected the plans of nnU-Net v2"
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
            trainer=trainer,
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
    trainer: str,
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
        architecture=_architecture(settings, trainer),
        source=source,
        regions=regions,
        relative_to=_relative_to(plans, classes),
    )


def _relative_to(plans: Mapping[str, Any], classes: Sequence[str]) -> tuple[str, ...]:
    """The hosts of a recipe of this package: what the network has learned to see relative to."""
    recipe = plans.get("nnstudent", {}).get("recipe", {})
    hosts = recipe.get("data", {}).get("hosts", ())
    return find_classes(hosts, classes, where="the recipe's hosts") if hosts else ()


def _architecture(settings: Mapping[str, Any], trainer: str) -> Architecture:
    given = settings.get("architecture") or _old_architecture(settings)
    kwargs = dict(given["arch_kwargs"]) | _CHANGED_BY.get(trainer, {})
    return Architecture(given["network_class_name"], kwargs, tuple(given["_kw_requires_import"]))


def _old_architecture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of plans from before nnU-Net v2.3.1, as its ConfigurationManager has it."""
    kind = settings["UNet_class_name"]
    if kind not in _OLD_BLOCKS:
        raise InputError(
            f"UNet_class_name {str(kind)[:60]!r} is not supported; "
            f"supported are {', '.join(_OLD_BLOCKS)}"
        )
    encoder = list(settings["n_conv_per_stage_encoder"])
    base, most = int(settings["UNet_base_num_features"]), int(settings["unet_max_num_features"])
    return {
        "network_class_name": f"{UNETS}.{kind}",
        "arch_kwargs": {
            "n_stages": len(encoder),
            "features_per_stage": [min(base * 2**stage, most) for stage in range(len(encoder))],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": settings["conv_kernel_sizes"],
            "strides": settings["pool_op_kernel_sizes"],
            _OLD_BLOCKS[kind]: encoder,
            "n_conv_per_stage_decoder": list(settings["n_conv_per_stage_decoder"]),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


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
