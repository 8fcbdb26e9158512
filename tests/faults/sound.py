"""What the campaign damages: one sound, small input of every kind, made once by the
command itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import nnstudent
from nnstudent.inference.labels.volumetry import COLUMNS
from tests.inference.folders import make_folder
from tests.io.series import Series

SHAPE, SPACING_MM = (14, 18, 22), 6.0
CLASSES = ("liver", "spleen", "aorta")
MODEL = {
    "spacing": [6.0, 6.0, 6.0],
    "patch_size": [8, 16, 16],
    "order": 1,
    "strides": [[1, 1, 1], [2, 2, 2]],
}
PRESET = """
folds = 2
[select]
min_agreement = 0.05
[student.network]
features = [4, 8]
strides  = [[1, 1, 1], [2, 2, 2]]
[student.data]
spacing_mm  = [6.0, 6.0, 6.0]
patch       = [8, 16, 16]
image_order = 1
separate_z  = false
[student.training]
epochs     = 1
iterations = 1
augment    = ["brightness"]
[teachers]
like = "student"
"""
# id, label map's classes, what is annotated, role
CASES = (
    ("full", (1, 2, 3), "liver,spleen,aorta", "train"),
    ("part", (1, 2), "liver,spleen", "train"),
    ("bare", (), "", "train"),
    ("held", (1, 2, 3), "liver,spleen,aorta", "test"),
)


def make_sound(folder: Path) -> Path:
    """Make every sound input below ``folder``, in a process of its own, so that the caller can fork
    afterwards."""
    code = f"from pathlib import Path; from tests.faults.sound import _make; _make(Path({str(folder)!r}))"
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(
        filter(None, [str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")])
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    return folder


def scan(seed: int) -> tuple[nnstudent.Volume, nnstudent.Volume]:
    """A body in air with three organs, in noise."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:11, 4:11, 3:10] = 1
    labels[4:9, 5:10, 14:19] = 2
    labels[:, 11:13, 10:13] = 3
    hu = (
        np.where((y - 9) ** 2 / 64 + (x - 11) ** 2 / 100 < 1, 40.0, -1000.0)
        + np.array([0, 60, 90, 200])[labels]
    )
    grid = nnstudent.Grid(SHAPE, np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0]))
    return nnstudent.Volume(
        (hu + rng.normal(0, 9, SHAPE)).astype(np.int16), grid
    ), nnstudent.Volume(labels, grid)


def _call(*words: object) -> None:
    from nnstudent.cli.main import main

    code = main([str(word) for word in words])
    if code:
        raise RuntimeError(f"exit code {code} of {words}")


def _make(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    make_folder(root / "model", MODEL, classes=CLASSES)
    nnstudent.export(root / "model", root / "bundle")
    _make_scans(root)
    _call(
        "index",
        root / "source" / "cases.csv",
        "-o",
        root / "cohort",
        "--taxonomy",
        root / "source" / "table.toml",
    )
    _call("label", root / "cohort", "-o", root / "pseudo", "--from", root / "made")
    _call("select", root / "cohort", root / "pseudo", "-o", root / "fused", "--leave-open")
    series_of(0).write(root / "series")
    _make_raw_dataset(root)
    _make_run(root)
    _make_results(root)


def _make_scans(root: Path) -> None:
    source, rows = root / "source", ["id,image,label,annotated,role"]
    source.mkdir()
    for folder in ("made", "truth", "predictions"):
        (root / folder).mkdir()
    for seed, (id, kept, annotated, role) in enumerate(CASES):
        image, labels = scan(seed)
        nnstudent.write_image(source / f"{id}.nii.gz", image)
        if kept:
            known = nnstudent.Volume(
                np.where(np.isin(labels.array, kept), labels.array, 0).astype(np.uint8), labels.grid
            )
            nnstudent.write_labels(source / f"{id}_label.nii.gz", known)
        rows.append(f'{id},{id}.nii.gz,{id + "_label.nii.gz" if kept else ""},"{annotated}",{role}')
        nnstudent.write_labels(root / "made" / f"{id}.nii.gz", labels)
        nnstudent.write_labels(root / "truth" / f"{id}.nii.gz", labels)
        moved = nnstudent.Volume(np.roll(labels.array, 1, axis=1), labels.grid)
        nnstudent.write_labels(root / "predictions" / f"{id}.nii.gz", moved)
    (source / "cases.csv").write_text("\n".join(rows) + "\n")
    toml = [
        "\n".join(["[[case]]", f'id = "{id}"', f'image = "{id}.nii.gz"', f'role = "{role}"']
        + ([f'label = "{id}_label.nii.gz"', f"annotated = {json.dumps(annotated.split(','))}"] if kept else []))
        for id, kept, annotated, role in CASES
    ]  # fmt: skip
    (source / "cases.toml").write_text("\n\n".join(toml) + "\n")
    (source / "preset.toml").write_text(PRESET)
    rows = [f'[[class]]\nid = {k}\nname = "{name}"' for k, name in enumerate(CLASSES, start=1)]
    (source / "table.toml").write_text("\n".join(['name = "three"', *rows]) + "\n")
    nnstudent.write_image(root / "ct.nii.gz", scan(9)[0])


def series_of(seed: int) -> Series:
    """The scan as a DICOM series."""
    return Series(stored=scan(seed)[0].array.astype(int) + 1024, spacing=(SPACING_MM,) * 3)


def _make_raw_dataset(root: Path) -> None:
    raw = root / "raw" / "Dataset001_Small"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for id in ("full", "part"):
        shutil.copy(root / "source" / f"{id}.nii.gz", raw / "imagesTr" / f"{id}_0000.nii.gz")
        labels = nnstudent.read_labels(root / "source" / f"{id}_label.nii.gz")
        nnstudent.write_labels(raw / "labelsTr" / f"{id}.nii.gz", labels)
    names = {"background": 0} | {name: k for k, name in enumerate(CLASSES, start=1)}
    facts = {
        "channel_names": {"0": "CT"},
        "labels": names,
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(facts))


def _make_run(root: Path) -> None:
    """A run's folder as the stages leave it, without a training."""
    run = root / "run"
    for name in ("cohort", "pseudo", "fused"):
        shutil.copytree(root / name, run / name)
    (run / "predictions" / "student").mkdir(parents=True)
    shutil.copy(root / "predictions" / "held.nii.gz", run / "predictions" / "student")
    (run / "predictions" / "student" / "held.json").write_text(
        json.dumps({"id": "held", "seconds": {"read": 0.1, "total": 1.5}})
    )
    _call(
        "evaluate",
        run / "predictions" / "student",
        run / "cohort",
        "--report",
        run / "scores" / "student.json",
    )
    (run / "student" / "fold_0").mkdir(parents=True)
    curve = {
        "fold": 0,
        "epochs": 2,
        "train_loss": [1.0, 0.5],
        "val_loss": [0.9, None],
        "dice": [None, 0.4],
        "seconds": [1.5, 1.5],
    }
    (run / "student" / "fold_0" / "progress.json").write_text(json.dumps(curve))
    stages = [
        {
            "name": "index",
            "state": "done",
            "seconds": 1.2,
            "peak_rss_mb": 210.0,
            "detail": "4 cases",
            "failures": [],
        }
    ]
    facts = {
        "schema": 1,
        "version": "0.1.0",
        "preset": "demo",
        "source": "/home/me/scans",
        "stages": stages,
    }
    (run / "run.json").write_text(json.dumps(facts))


def _make_results(root: Path) -> None:
    """The series' labels as DICOM objects, and results with what is expected of their Dice."""
    out, model = root / "objects", ("--model", root / "bundle", "--threads", "1")
    _call("segment", root / "series", "-o", out, *model, "--format", "dicom-seg,rtstruct")
    rows = [
        [id, name, "120.5", "60.1", "9.2", "no", "0.9", f"0.{number}", "0.05", "0.95", verdict]
        for number, (id, *_) in enumerate(CASES, start=5)
        for name, verdict in zip(CLASSES, ("pass", "look", "fail"), strict=True)
    ]
    (root / "results").mkdir()
    text = "\n".join(",".join(row) for row in [list(COLUMNS), *rows])
    (root / "results" / "statistics.csv").write_text(text + "\n")
