"""A student of a network in TotalSegmentator's layout, beside its teacher: Dice and seconds a scan.

  python -m bench.distill --scans 96 --steps 18000 --threads 1 --narrow-labels

The teacher is the bundled student made wider without changing what it computes (Net2Net: every
channel is there twice or more, and whatever reads them shares their weight), as an nnU-Net folder
with the plans and the trainer of TotalSegmentator's v2 weights. So it is as slow as a network
of its size, and as good as the bundled student. The student starts with three of four of the
bundled one's channels, unless ``--start none`` is given, and sees synthetic patients without
labels; both are scored on others by their truth, with the defaults of `segment`.
``--narrow-labels`` has the bundled student label, which computes the same as the teacher. The row
goes to docs/results/distill.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import ROOT, commit, machine
from nnstudent.bundle.bundle import Model, open_model
from nnstudent.bundle.network import build, load_weights
from nnstudent.cli.common import Display
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import write_image
from nnstudent.phantom import PhantomCase, make_case
from nnstudent.pipeline.distill import distill
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.taxonomy import flare23

ROWS = ROOT / "docs" / "results" / "distill.json"
FEATURES = (12, 24, 48, 96, 144)
SPACING_MM, PATCH = (5.0, 4.0, 4.0), (32, 64, 64)  # that of the phantoms
LAYOUT = (
    "Dataset291_TotalSegmentator_part1_organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
)


def make_teacher(folder: Path, *, times: int) -> Path:
    """Write the teacher's nnU-Net folder, with plans from before nnU-Net 2.3.1; made once."""
    import torch

    out = folder / LAYOUT
    if (out / "fold_0" / "checkpoint_final.pth").is_file():
        return out
    bundled = open_model()
    spec = bundled.networks[0].spec
    kwargs = dict(spec.architecture.kwargs)
    features = [times * n for n in kwargs["features_per_stage"]]
    wide = replace(
        spec,
        architecture=replace(spec.architecture, kwargs={**kwargs, "features_per_stage": features}),
    )
    module, small = build(wide), build(spec)
    weights = bundled.networks[0].members[0].weights()
    load_weights(small, weights, path=bundled.path)
    with torch.no_grad():
        given = small.state_dict()
        for name, tensor in module.state_dict().items():
            tensor.copy_(widened(given[name], tuple(tensor.shape), name=name))
    window = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(module(window), small(window), rtol=1e-3, atol=1e-2)
    (out / "fold_0").mkdir(parents=True)
    write_json(out / "plans.json", old_plans(bundled, features))
    names = {name: k for k, name in enumerate(spec.foreground, start=1)}
    write_json(
        out / "dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **names},
            "file_ending": ".nii.gz",
        },
    )
    checkpoint = {
        "network_weights": module.state_dict(),
        "trainer_name": "nnUNetTrainerNoMirroring",
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, out / "fold_0" / "checkpoint_final.pth")
    return out


def widened(values: Any, shape: tuple[int, ...], *, name: str) -> Any:
    """A tensor of the wider network that computes the same.

    Channels that a layer writes are repeated; of those that it reads, each copy has its share.
    Concatenated inputs (the skip and what comes from below) are repeated part by part, which
    repeating every channel in place does.
    """
    transposed = ".transpconvs." in name
    for axis, size in enumerate(shape[:2]):
        times = size // values.shape[axis]
        if times > 1:
            values = values.repeat_interleave(times, dim=axis)
            reads = axis == (0 if transposed else 1)
            if reads and len(shape) > 1:
                values = values / times
    return values


def old_plans(model: Model, features: list[int]) -> dict[str, Any]:
    """The plans of the bundled student, as nnU-Net wrote them before v2.3.1."""
    spec = model.networks[0].spec
    kwargs, norm = spec.architecture.kwargs, spec.normalization
    resampling = {"data": spec.image_resampling, "probabilities": spec.score_resampling}
    how = {
        key: {
            "is_seg": False, "order": given.order, "order_z": given.order_z,
            "force_separate_z": given.force_separate_z,
        }
        for key, given in resampling.items()
    }  # fmt: skip
    stages = len(features)
    configuration = {
        "patch_size": list(spec.patch),
        "spacing": list(spec.spacing_mm),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{key}": "resample_data_or_seg_to_shape" for key in how},
        **{f"resampling_fn_{key}_kwargs": value for key, value in how.items()},
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": features[0],
        "unet_max_num_features": features[-1],
        "n_conv_per_stage_encoder": each(kwargs["n_conv_per_stage"], stages),
        "n_conv_per_stage_decoder": each(kwargs["n_conv_per_stage_decoder"], stages - 1),
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
    }
    return {
        "dataset_name": "Dataset291_TotalSegmentator_part1_organs",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": list(spec.transpose),
        "transpose_backward": list(spec.transpose),
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": norm.mean,
                "std": norm.std,
                "percentile_00_5": norm.lower,
                "percentile_99_5": norm.upper,
            }
        },
    }


def each(value: Any, stages: int) -> list[int]:
    """A number for each stage."""
    return [value] * stages if isinstance(value, int) else list(value)


def student_preset(steps: int) -> Preset:
    """Preset distill for this many steps, with three of four channels on the phantoms' grid."""
    preset, demo = load_preset("distill"), load_preset("demo").student
    network = replace(preset.student.network, features=FEATURES)
    training = replace(demo.training, epochs=max(1, steps // 25), iterations=25, lr=2e-3)
    data = replace(demo.data, spacing_mm=SPACING_MM, patch=PATCH)
    student = replace(preset.student, network=network, training=training, data=data)
    return replace(preset, student=student)


def scored(model: Path, cases: list[PhantomCase], classes: tuple[str, ...]) -> dict[str, Any]:
    """Mean DSC of the organs over the cases, and seconds a case, with the defaults of segment."""
    segmenter = Segmenter(model, precision="auto", windows="guided")
    table, seconds = flare23(), []
    found: dict[str, list[float]] = {}
    segmenter(cases[0].image)  # loads the network
    for case in cases:
        began = time.perf_counter()
        labels = segmenter(case.image).labels.array
        seconds.append(time.perf_counter() - began)
        for name in classes:
            truth = case.truth.array == table[name].id
            if truth.any():
                own = labels == segmenter.taxonomy[name].id
                found.setdefault(name, []).append(dsc(own, truth))
    by_class = {name: round(statistics.fmean(values), 4) for name, values in found.items()}
    return {
        "dsc": round(statistics.fmean(by_class.values()), 4),
        "seconds": round(statistics.median(seconds), 2),
        "classes": by_class,
    }


def options(words: list[str] | None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=24, help="unlabeled scans to learn from")
    parser.add_argument("--test", type=int, default=6, help="scans to score on")
    parser.add_argument("--steps", type=int, default=12000, help="training steps of the student")
    parser.add_argument("--times", type=int, default=4, help="how much wider the teacher is")
    parser.add_argument("--phantoms", default="tiny", help="preset of the phantoms")
    parser.add_argument("--threads", type=int, help="threads of the distillation (default: all)")
    parser.add_argument("--start", choices=("bundled", "none"), default="bundled")
    parser.add_argument(
        "--narrow-labels", action="store_true", help="let the narrow teacher label, in less time"
    )
    parser.add_argument("--classes", default=",".join(flare23().organs))
    parser.add_argument("--work", type=Path, default=Path("runs/distill"))
    parser.add_argument("--out", type=Path, default=ROWS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Distill, score teacher and student, and write the row."""
    args = options(words)
    classes = tuple(args.classes.split(","))
    teacher = make_teacher(args.work / "teacher", times=args.times)
    with Display() as display:
        for number in range(args.scans):
            path = args.work / "scans" / f"scan_{number + 1:03d}.nii.gz"
            if not path.is_file():
                write_image(path, make_case(1000 + number, preset=args.phantoms).image)
            display("phantoms", number + 1, args.scans)
        result = distill(
            args.work / "scans",
            args.work / "run",
            teachers=[None if args.narrow_labels else teacher],
            classes=classes,
            preset=student_preset(args.steps),
            device="cpu",
            threads=args.threads,
            start=open_model() if args.start == "bundled" else None,
            progress=display,
        )
        if result.exit_code:
            print("; ".join(f"{item.case}: {item.reason}" for item in result.failures))
            return result.exit_code
    tests = [
        make_case(np.random.SeedSequence([2000, number]), preset=args.phantoms)
        for number in range(args.test)
    ]
    rows = {
        "teacher": scored(teacher, tests, classes),
        "student": scored(args.work / "run" / "bundle", tests, classes),
    }
    about = {
        "machine": machine(),
        "commit": commit(),
        "phantoms": args.phantoms,
        "teacher_times_wider": args.times,
        "student": {"features": FEATURES, "spacing_mm": SPACING_MM, "patch": PATCH},
        "start": args.start,
        "labels": "bundled student" if args.narrow_labels else "teacher",
    }
    write_json(args.out, {**about, "scans": args.scans, "steps": args.steps, "rows": rows})
    print(json.dumps(rows, indent=1))
    ratio = rows["teacher"]["seconds"] / rows["student"]["seconds"]
    points = 100 * (rows["teacher"]["dsc"] - rows["student"]["dsc"])
    print(f"{points:.1f} points below its teacher, {ratio:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
