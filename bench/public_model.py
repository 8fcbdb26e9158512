"""Seconds and memory of a model in TotalSegmentator's layout, beside stock nnU-Net.

  python -m bench.public_model --shape 300,512,512 --limit 2GB
  python -m bench.public_model --shape 150,256,256 --stock
  python -m bench.public_model --shape 150,256,256 --stock --classes 24
  python -m bench.public_model --shape 300,512,512 --kernel 1 --limit 4GB

The network has TotalSegmentator's plans from before nnU-Net 2.3.1: six stages of 32 to 320
features, windows of 128³ voxels of 1.5 mm, 118 classes. Its weights are random, and such that what
it finds are blobs, as organs are, and not noise. With --kernel 1 every convolution sees one voxel:
windows take about the same memory and far less time. The scan is the middle of a phantom with
voxels of 0.8×0.8×1.5 mm. Every run is a whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import commit, machine
from bench.inference import run_stock
from bench.scans import Contender, full_scan, run_ours
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.network import build
from nnstudent.evaluation.metrics import dsc
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_image, read_labels, write_image
from nnstudent.volume import Grid, Shape, Volume

WHOLE: Shape = (300, 512, 512)
LAYOUT = "Dataset297_TotalSegmentator/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
FEATURES, STAGES, PATCH, SPACING_MM = (32, 320), 6, 128, 1.5
SMOOTH = 4  # finest stages of the decoder that see nothing but what comes from below
RUNS = {  # options of segment, and whether its labels are compared with stock's
    "dense fp32": (("--windows", "dense", "--precision", "fp32"), True),
    "dense": (("--windows", "dense"), False),
    "as it is": ((), False),
}


def make_model(folder: Path, *, classes: int, kernel: int = 3, seed: int = 1) -> Path:
    """Write an nnU-Net folder in TotalSegmentator's layout with random weights; made once."""
    import torch

    out = folder / f"{classes}-{kernel}" / LAYOUT
    if (out / "fold_0" / "checkpoint_final.pth").is_file():
        return out
    (out / "fold_0").mkdir(parents=True, exist_ok=True)
    names = {f"class_{k:03d}": k for k in range(1, classes + 1)}
    labels = {"background": 0, **names}
    write_json(
        out / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"},
    )
    write_json(out / "plans.json", plans(kernel))
    checkpoint = {
        "network_weights": {},
        "trainer_name": "nnUNetTrainerNoMirroring",
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, out / "fold_0" / "checkpoint_final.pth")
    torch.manual_seed(seed)
    module = build(open_model(out).networks[0].spec)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            smoothed(tensor, name)
    checkpoint["network_weights"] = module.state_dict()
    torch.save(checkpoint, out / "fold_0" / "checkpoint_final.pth")
    return out


def smoothed(tensor: Any, name: str) -> None:
    """Let the finest stages of the decoder pass on what comes from below, and no detail."""
    parts = name.split(".")
    if ".transpconvs." in name and name.endswith(".weight"):
        tensor.copy_(tensor.mean(dim=(2, 3, 4), keepdim=True).expand_as(tensor))
    elif name.startswith("decoder.stages.") and tensor.ndim == 5:
        if int(parts[2]) < STAGES - 1 - SMOOTH:
            return
        tensor.copy_(tensor.mean(dim=(2, 3, 4), keepdim=True).expand_as(tensor))
        if ".convs.0." in name:
            tensor[:, tensor.shape[1] // 2 :] = 0  # the skip
    elif ".seg_layers." in name and name.endswith(".weight"):
        tensor *= 4


def plans(kernel: int) -> dict[str, Any]:
    """TotalSegmentator's plans, as nnU-Net wrote them before 2.3.1."""
    how = {
        "data": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "seg": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "probabilities": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
    }
    configuration = {
        "patch_size": [PATCH] * 3,
        "spacing": [SPACING_MM] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{key}": "resample_data_or_seg_to_shape" for key in how},
        **{f"resampling_fn_{key}_kwargs": value for key, value in how.items()},
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": FEATURES[0],
        "unet_max_num_features": FEATURES[1],
        "n_conv_per_stage_encoder": [2] * STAGES,
        "n_conv_per_stage_decoder": [2] * (STAGES - 1),
        "num_pool_per_axis": [STAGES - 1] * 3,
        "pool_op_kernel_sizes": [[1, 1, 1], *[[2, 2, 2]] * (STAGES - 1)],
        "conv_kernel_sizes": [[kernel] * 3] * STAGES,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset297_TotalSegmentator",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": -50.0,
                "std": 420.0,
                "percentile_00_5": -1000.0,
                "percentile_99_5": 900.0,
            }
        },
    }


def make_scan(work: Path, shape: Shape) -> Path:
    """Write the middle of a phantom of 512×512×300 voxels, of this shape (z, y, x); made once."""
    out = work / "scans" / "x".join(map(str, shape))
    path = out / "images" / "ct_0000.nii.gz"
    if not path.is_file():
        whole = full_scan(work / "scans" / "300x512", WHOLE[0], plane=WHOLE[1])
        image = read_image(whole / "images" / "ct_0000.nii.gz")
        box = tuple(
            slice((have - want) // 2, (have - want) // 2 + want)
            for have, want in zip(image.array.shape, shape, strict=True)
        )
        cropped = np.ascontiguousarray(image.array[box])
        write_image(path, Volume(cropped, Grid(cropped.shape, np.diag([0.8, 0.8, 1.5, 1.0]))))
    return out


def agreement(ours: Path, stock: Path, least: int) -> dict[str, Any]:
    """Mean and lowest DSC of the classes that either finds in at least so many voxels."""
    one, other = (read_labels(path).array for path in (ours, stock))
    counts = np.maximum(
        np.bincount(one.ravel(), minlength=256), np.bincount(other.ravel(), minlength=256)
    )
    found = [k for k in range(1, 256) if counts[k] >= least]
    values = [dsc(one == k, other == k) for k in found]
    return {
        "classes": len(found),
        "mean": round(statistics.fmean(values), 5),
        "lowest": round(min(values), 5),
    }


def main(words: list[str] | None = None) -> int:
    """Run everything that was asked for and print a row of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="150,256,256", help="voxels of the scan, z,y,x")
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--kernel", type=int, default=3, help="voxels along each axis")
    parser.add_argument("--limit", help="as of segment --memory-limit")
    parser.add_argument("--runs", default=",".join(RUNS), help=f"of {', '.join(RUNS)}")
    parser.add_argument("--stock", action="store_true", help="run stock nnU-Net too")
    parser.add_argument("--work", type=Path, default=Path("runs/public_model"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows go")
    args = parser.parse_args(words)
    shape = tuple(int(n) for n in args.shape.split(","))
    scan = make_scan(args.work, (shape[0], shape[1], shape[2]))
    folder = make_model(args.work / "models", classes=args.classes, kernel=args.kernel)
    out = args.work / "out" / f"{args.shape}-{args.classes}-{args.kernel}"
    rows: list[dict[str, Any]] = []
    if args.stock and (run := run_stock(folder, scan, out / "stock")) is not None:
        rows.append({"run": "stock nnU-Net", "seconds": run.seconds, "mb": run.peak_rss_mb})
        print(json.dumps(rows[-1]), flush=True)
    for name in args.runs.split(","):
        options, compared = RUNS[name]
        limit = ("--memory-limit", args.limit) if args.limit else ()
        labels = out / f"{name.replace(' ', '-')}.nii.gz"
        ours = run_ours(
            Contender(name, folder, folder), scan, labels, *options, *limit, "--postprocess", "none"
        )
        assert ours.report is not None
        row = {
            "run": name,
            "seconds": ours.seconds,
            "mb": ours.peak_rss_mb,
            "predicted_mb": ours.report["predicted_peak_mb"],
            "precision": ours.report["precision"],
            "windows": ours.report["windows"]["run"],
            "stages": ours.report["seconds"],
        }
        if compared and rows and rows[0]["run"] == "stock nnU-Net":
            row["agreement"] = agreement(labels, out / "stock" / "ct.nii.gz", least=1000)
        rows.append(row)
        print(json.dumps(row), flush=True)
    load = os.getloadavg()
    about = {"machine": machine(), "commit": commit(), "command": sys.argv[1:], "load": load}
    print(json.dumps(about))
    if args.json:
        write_json(args.json, {**about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
