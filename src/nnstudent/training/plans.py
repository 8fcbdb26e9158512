"""Make nnU-Net's plans.json and dataset.json from a recipe and a fingerprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.bundle.architectures import check
from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy
from nnstudent.training.recipe import Data, Network, Recipe

CONFIGURATION = "3d_fullres"
PREPROCESSOR, NORMALIZATION = "DefaultPreprocessor", "CTNormalization"
RESAMPLING, LABEL_MANAGER = "resample_data_or_seg_to_shape", "LabelManager"
PLANS_NAME = "nnStudentPlans"
READER = "NibabelIOWithReorient"  # reorients to RAS, so that scans of any orientation work

OWN_NETWORKS = {
    "separable": "nnstudent.training.networks.separable.SeparableUNet",
    "strided_stem": "nnstudent.training.networks.strided_stem.StridedStemUNet",
}


@dataclass(frozen=True)
class Fingerprint:
    """What the plans need to know about the training cases.

    Attributes:
        intensity: HU of the foreground: ``mean``, ``std``, ``percentile_00_5``,
            ``percentile_99_5``, ``median``, ``min``, ``max``.
        spacing_mm: Median spacing, (z, y, x).
        shape: Median shape, (z, y, x).
        volume_ml: Volume of the background and of each class, summed over the cases.
    """

    intensity: Mapping[str, float]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    volume_ml: tuple[float, ...]


def architecture(network: Network) -> dict[str, Any]:
    """The entry ``architecture`` of nnU-Net's plans.

    It names nnU-Net's own plain U-Net, or a network of this package, which must then be installed
    wherever nnU-Net loads the model.
    """
    if network.kind != "plain":
        return {
            "network_class_name": OWN_NETWORKS[network.kind],
            "arch_kwargs": {
                "features": list(network.features),
                "strides": [list(stride) for stride in network.strides],
                "kernels": [list(kernel) for kernel in network.whole("kernels")],
                "encoder_convolutions": network.whole("encoder_convolutions"),
                "decoder_convolutions": network.whole("decoder_convolutions"),
            },
            "_kw_requires_import": [],
        }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(network.features),
            "features_per_stage": list(network.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(kernel) for kernel in network.whole("kernels")],
            "strides": [list(stride) for stride in network.strides],
            "n_conv_per_stage": network.whole("encoder_convolutions"),
            "n_conv_per_stage_decoder": network.whole("decoder_convolutions"),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def check_plans(plans: Any, dataset_json: Any, *, where: Path) -> None:
    """Refuse plans from a file that name anything that this package's own plans do not name.

    nnU-Net imports the network's class and layers from any path that the plans give, and looks up
    preprocessor, resampling, reader and label manager by name. This check therefore comes first.

    Args:
        plans: nnU-Net's plans.
        dataset_json: nnU-Net's dataset.json.
        where: The file that they were read from, for the error.

    Raises:
        InputError: Something else is named, or an entry is missing or of the wrong type.
    """
    try:
        named = [
            plans["image_reader_writer"],
            plans["label_manager"],
            dataset_json["overwrite_image_reader_writer"],
        ]
        wanted = [READER, LABEL_MANAGER, READER]
        for configuration in plans["configurations"].values():
            built = configuration["architecture"]
            check(built["network_class_name"], built["arch_kwargs"], built["_kw_requires_import"])
            named += [configuration["preprocessor_name"], *configuration["normalization_schemes"]]
            wanted += [PREPROCESSOR, NORMALIZATION]
            named += [
                configuration[f"resampling_fn_{what}"] for what in ("data", "seg", "probabilities")
            ]
            wanted += [RESAMPLING] * 3
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: malformed ({type(error).__name__}: {error}); remove it and train again"
        ) from error
    for name, expected in zip(named, wanted, strict=False):
        if name != expected:
            raise InputError(
                f"{where}: names {str(name)[:80]!r} where plans of nnStudent name {expected}; "
                "remove it and train again"
            )
    if len(named) != len(wanted):
        raise InputError(
            f"{where}: has {len(named)} names of nnU-Net's parts; expected {len(wanted)}; "
            "remove it and train again"
        )


def make_plans(
    recipe: Recipe, fingerprint: Fingerprint, *, dataset_name: str, lesions: Collection[int] = ()
) -> dict[str, Any]:
    """nnU-Net's plans for a recipe.

    Args:
        recipe: Network and training; the trainer reads it from ``plans["nnstudent"]``.
        fingerprint: The fingerprint of the training cases.
        dataset_name: nnU-Net's name of the dataset, ``Dataset001_…``.
        lesions: Channels of the lesion classes.
    """
    return {
        "dataset_name": dataset_name,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": list(fingerprint.spacing_mm),
        "original_median_shape_after_transp": list(fingerprint.shape),
        "image_reader_writer": READER,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: _configuration(recipe, fingerprint)},
        "experiment_planner_used": "nnStudent",
        "label_manager": LABEL_MANAGER,
        "foreground_intensity_properties_per_channel": {"0": dict(fingerprint.intensity)},
        "nnstudent": {
            "version": nnstudent.__version__,
            "recipe": recipe.to_dict(),
            "class_weights": list(class_weights(recipe, fingerprint.volume_ml, lesions=lesions)),
        },
    }


def _configuration(recipe: Recipe, fingerprint: Fingerprint) -> dict[str, Any]:
    data = recipe.data
    scale = [
        have / want for have, want in zip(fingerprint.spacing_mm, data.spacing_mm, strict=True)
    ]
    return {
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "preprocessor_name": PREPROCESSOR,
        "batch_size": data.batch,
        "patch_size": list(data.patch),
        "median_image_size_in_voxels": [
            round(size * factor) for size, factor in zip(fingerprint.shape, scale, strict=True)
        ],
        "spacing": list(data.spacing_mm),
        "normalization_schemes": [NORMALIZATION],
        "use_mask_for_norm": [False],
        **_resampling("data", data, order=data.image_order, labels=False),
        **_resampling("seg", data, order=data.label_order, labels=True),
        **_resampling("probabilities", data, order=1, labels=False),
        "batch_dice": recipe.training.batch_dice,
        "architecture": architecture(recipe.network),
    }


def _resampling(what: str, data: Data, *, order: int, labels: bool) -> dict[str, Any]:
    return {
        f"resampling_fn_{what}": RESAMPLING,
        f"resampling_fn_{what}_kwargs": {
            "is_seg": labels,
            "order": order,
            "order_z": 0,
            "force_separate_z": data.separate_z,
        },
    }


def class_weights(
    recipe: Recipe, volume_ml: Sequence[float], *, lesions: Collection[int] = ()
) -> tuple[float, ...]:
    """Weights of the cross-entropy, background first; empty if all are equal.

    Args:
        recipe: The recipe, with the rule.
        volume_ml: Volume of the background and of each class.
        lesions: Channels of the lesion classes.
    """
    training = recipe.training
    weights = [1.0] * len(volume_ml)
    if training.class_weights == "rarity":
        background = max(volume_ml[0], 1e-6)
        shares = [max(volume / background, 1e-12) for volume in volume_ml[1:]]
        weights[1:] = [min(max(share**-0.5, 1.0), training.most_weight) for share in shares]
    elif training.lesion_weight == 1 or not lesions:
        return ()
    return tuple(
        weight * training.lesion_weight if channel in lesions else weight
        for channel, weight in enumerate(weights)
    )


def make_dataset_json(
    taxonomy: Taxonomy,
    classes: Sequence[str],
    *,
    cases: int,
    annotated: Mapping[str, Sequence[int]] | None = None,
    lesion_truth: Mapping[str, Sequence[int]] | None = None,
    true: Collection[str] = (),
    ignore: bool = False,
) -> dict[str, Any]:
    """A model's dataset.json; its entry ``nnstudent`` maps the channels to the label table.

    Args:
        taxonomy: The label table.
        classes: Names of the classes, in the order of the channels; channel 0 is background.
        cases: Number of training cases.
        annotated: The annotated channels of each case whose other classes the loss leaves open.
        lesion_truth: The lesion channels that a person annotated, of each case whose lesions are
            pasted into others.
        true: The cases whose labels are all a person's, if they are drawn more often.
        ignore: Whether label maps have ignored voxels, whose value is the one after the last
            channel.
    """
    values = ["background", *classes, *(["ignore"] if ignore else [])]
    return {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(values)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
        "nnstudent": {
            "taxonomy": taxonomy.to_dict(),
            "classes": {str(channel): name for channel, name in enumerate(classes, 1)},
            **(
                {"annotated": {case: list(known) for case, known in annotated.items()}}
                if annotated
                else {}
            ),
            **(
                {"lesion_truth": {case: list(known) for case, known in lesion_truth.items()}}
                if lesion_truth
                else {}
            ),
            **({"true": sorted(true)} if true else {}),
        },
    }
