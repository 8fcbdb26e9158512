"""Small nnU-Net model folders with random weights, which use every part of the path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

ISOTROPIC = {
    "spacing": [6.0, 6.0, 6.0],
    "patch_size": [16, 16, 24],
    "order": 1,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
}
ANISOTROPIC = {
    "spacing": [8.0, 2.4, 2.4],
    "patch_size": [8, 48, 64],
    "order": 3,
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
}


def architecture(
    strides: list[list[int]], *, residual: bool = False, flat_kernels: int = 0
) -> dict[str, Any]:
    stages = len(strides)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [8 * 2**k for k in range(stages)],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1, 3, 3]] * flat_kernels + [[3, 3, 3]] * (stages - flat_kernels),
            "strides": strides,
            "n_blocks_per_stage" if residual else "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
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


def _architecture_of(settings: dict[str, Any]) -> dict[str, Any]:
    return architecture(
        settings["strides"],
        residual=settings.get("residual", False),
        flat_kernels=settings.get("flat_kernels", 0),
    )


def plans(
    settings: dict[str, Any],
    *,
    reader: str = "NibabelIOWithReorient",
    transpose: tuple[int, ...] = (0, 1, 2),
) -> dict[str, Any]:
    image = {"is_seg": False, "order": settings["order"], "order_z": 0, "force_separate_z": None}
    scores = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    facts = {
        "mean": 60.0,
        "std": 120.0,
        "percentile_00_5": -160.0,
        "percentile_99_5": 300.0,
        "median": 60.0,
        "min": -900.0,
        "max": 1500.0,
    }
    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": settings["patch_size"],
        "median_image_size_in_voxels": [50, 50, 50],
        "spacing": settings["spacing"],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": image,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": labels,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": scores,
        "architecture": _architecture_of(settings),
        "batch_dice": False,
    }
    backward = [transpose.index(k) for k in range(3)]
    return {
        "dataset_name": "Dataset999_test",
        "plans_name": "testPlans",
        "original_median_spacing_after_transp": settings["spacing"],
        "original_median_shape_after_transp": [50, 50, 50],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": backward,
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": facts},
    }


# A network of regions: every label is part of the first, and the tumor lies in the mass; labels are
# not numbered in the order of channels.
REGIONS = {"organ": [1, 2, 3], "mass": [2, 3], "tumor": 2}
REGIONS_ORDER = [1, 3, 2]


def dataset(classes: tuple[str, ...], *, regions: bool = False) -> dict[str, Any]:
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0}
        | (REGIONS if regions else {name: k for k, name in enumerate(classes, start=1)}),
        **({"regions_class_order": REGIONS_ORDER} if regions else {}),
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "name": "test",
    }


def make_folder(
    path: Path,
    settings: dict[str, Any],
    *,
    classes: tuple[str, ...] = ("liver", "spleen", "aorta"),
    folds: tuple[int, ...] = (0,),
    seed: int = 0,
    mirroring: tuple[int, ...] | None = None,
    regions: bool = False,
    **more: Any,
) -> Path:
    """An nnU-Net model folder."""
    import torch
    from dynamic_network_architectures.architectures import unet

    path.mkdir(parents=True)
    (path / "plans.json").write_text(json.dumps(plans(settings, **more)))
    (path / "dataset.json").write_text(json.dumps(dataset(classes, regions=regions)))
    built = _architecture_of(settings)
    kwargs = dict(built["arch_kwargs"])
    network = getattr(unet, built["network_class_name"].rpartition(".")[2])
    kwargs |= {
        "conv_op": torch.nn.Conv3d,
        "norm_op": torch.nn.InstanceNorm3d,
        "nonlin": torch.nn.LeakyReLU,
    }
    for fold in folds:
        torch.manual_seed(seed + fold)
        module = network(
            input_channels=1,
            num_classes=len(REGIONS) if regions else len(classes) + 1,
            deep_supervision=True,
            **kwargs,
        )
        module.apply(module.initialize)
        _calibrate(module, settings["patch_size"])
        checkpoint = {
            "network_weights": module.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres", "fold": fold},
            "inference_allowed_mirroring_axes": mirroring,
            "current_epoch": 3,
            # nnU-Net's own checkpoints hold numpy numbers in their log
            "logging": {
                "mean_fg_dice": [np.float64(0.5)],
                "lrs": [np.float32(0.01)],
                "count": [np.int64(3)],
            },
            "_best_ema": np.float64(0.5),
        }
        (path / f"fold_{fold}").mkdir()
        torch.save(checkpoint, path / f"fold_{fold}" / "checkpoint_final.pth")
    return path


def _calibrate(module: Any, patch: list[int]) -> None:
    """Set the last layer so that all classes are about equally likely on smooth noise."""
    import torch

    smooth = torch.nn.functional.interpolate(
        torch.randn(4, 1, *(max(2, n // 4) for n in patch)), patch, mode="trilinear"
    )
    head = module.decoder.seg_layers[-1]
    with torch.no_grad():
        logits = module.eval()(2 * smooth)[0]
        middle, spread = logits.mean((0, 2, 3, 4)), logits.std((0, 2, 3, 4))
        head.bias.sub_(middle).div_(spread)
        head.weight.div_(spread[:, None, None, None, None])
    module.train()
