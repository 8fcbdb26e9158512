"""nnU-Net folders as others publish them, each kind once against stock nnU-Net."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.store import VARIABLE, add_model, find_model
from nnstudent.inference.memory import MemoryPlan
from nnstudent.inference.pipelining import run_stages
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, write_image
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, make_folder
from tests.inference.stock import stock_labels

AGREEMENT, WORST = 0.999, 0.995  # mean DSC and that of each class
LAYOUT = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"  # TotalSegmentator's


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "case.nii.gz"
    write_image(path, blobs((14, 36, 40), (6.0, 3.0, 3.3), axes="LPS"))
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def as_before_2_3_1(folder: Path, *, trainer: str = "nnUNetTrainerNoMirroring") -> Path:
    """Give a folder the plans and the checkpoint of nnU-Net before v2.3.1."""
    import torch

    def older(plans: dict[str, Any]) -> None:
        configuration = plans["configurations"]["3d_fullres"]
        given = configuration.pop("architecture")
        kwargs = given["arch_kwargs"]
        encoder = kwargs.get("n_conv_per_stage", kwargs.get("n_blocks_per_stage"))
        configuration |= {
            "UNet_class_name": given["network_class_name"].rpartition(".")[2],
            "UNet_base_num_features": kwargs["features_per_stage"][0],
            "n_conv_per_stage_encoder": encoder,
            "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [2, 2, 2],
            "pool_op_kernel_sizes": kwargs["strides"],
            "conv_kernel_sizes": kwargs["kernel_sizes"],
            "unet_max_num_features": 320,
        }

    rewrite(folder / "plans.json", older)
    for path in folder.glob("fold_*/*.pth"):
        checkpoint = torch.load(path, weights_only=False)
        checkpoint["trainer_name"] = trainer
        checkpoint["init_args"] |= {"unpack_dataset": True, "device": torch.device("cuda")}
        torch.save(checkpoint, path)
    return folder


def with_trainer(folder: Path, name: str) -> Path:
    import torch

    for path in folder.glob("fold_*/*.pth"):
        torch.save(torch.load(path, weights_only=False) | {"trainer_name": name}, path)
    return folder


def agree(ours: np.ndarray, stock: np.ndarray, *, least: int = 3) -> None:
    """Both are label maps with the same values."""
    values = sorted({*np.unique(ours).tolist(), *np.unique(stock).tolist()})
    scores = [
        2
        * float(((ours == value) & (stock == value)).sum())
        / float((ours == value).sum() + (stock == value).sum())
        for value in values
    ]
    assert len(scores) >= least, "a network that finds one class only proves nothing"
    assert np.mean(scores) >= AGREEMENT, dict(zip(values, scores, strict=True))
    assert min(scores) >= WORST, dict(zip(values, scores, strict=True))


def own(model: Path, image: Path, **how: Any) -> tuple[Segmenter, np.ndarray]:
    segmenter = Segmenter(model, postprocess=(), **how)
    return segmenter, segmenter(read_image(image)).labels.array


def contract(
    folder: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    beside: Path | None = None,
    least: int = 3,
    **stock: Any,
) -> Segmenter:
    """Segment with our reader and with stock nnU-Net; the same values in both label maps."""
    segmenter, ours = own(folder, image)
    spec = segmenter.model.networks[0].spec
    channels = [0, *(segmenter.taxonomy[name].id for name in spec.foreground)]
    # Random weights leave classes nearly equal, and float16 sums would decide between them.
    monkeypatch.setattr("torch.half", __import__("torch").float32)
    theirs = stock_labels(beside or folder, image, tmp_path, monkeypatch, folds=(0,), **stock)
    agree(ours, np.array(channels, np.uint8)[theirs.array], least=least)
    return segmenter


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_plans_from_before_2_3_1(residual, image, tmp_path, monkeypatch):
    settings = ISOTROPIC | {"residual": residual}
    folder = as_before_2_3_1(make_folder(tmp_path / "Dataset291_Organs" / LAYOUT, settings, seed=1))
    segmenter = contract(folder, image, tmp_path, monkeypatch)
    exported = own(export(folder, tmp_path / "bundle"), image)[1]
    assert (exported == segmenter(read_image(image)).labels.array).mean() > 0.999  # float16


def test_a_residual_encoder_with_many_blocks(image, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ANISOTROPIC | {"residual": True}, seed=2)

    def large(plans: dict[str, Any]) -> None:
        plans["plans_name"] = "nnUNetResEncUNetLPlans"
        kwargs = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        kwargs["n_blocks_per_stage"] = [1, 3, 4]

    rewrite(folder / "plans.json", large)
    _new_weights(folder)
    contract(folder, image, tmp_path, monkeypatch)


def _new_weights(folder: Path) -> None:
    """Random weights for a folder whose plans were changed."""
    import torch

    from nnstudent.bundle.network import build
    from nnstudent.bundle.plans import from_nnunet
    from tests.inference.folders import _calibrate

    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    spec, _ = from_nnunet(
        json.loads((folder / "plans.json").read_text()),
        json.loads((folder / "dataset.json").read_text()),
        configuration="3d_fullres",
        name="m",
        trainer=checkpoint["trainer_name"],
    )
    torch.manual_seed(5)
    module = build(spec)
    module.decoder.deep_supervision = True
    _calibrate(module, list(spec.patch))
    module.decoder.deep_supervision = False
    torch.save(checkpoint | {"network_weights": module.eval().state_dict()}, path)


def test_the_best_checkpoint_where_there_is_no_final_one(image, tmp_path, monkeypatch, caplog):
    folder = make_folder(tmp_path / "model", ISOTROPIC, seed=3)
    (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_best.pth")
    with caplog.at_level(logging.WARNING):
        contract(folder, image, tmp_path, monkeypatch, checkpoint="checkpoint_best.pth")
    assert "takes checkpoint_best.pth, the best of its training so far" in caplog.text


def test_117_classes(image, tmp_path, monkeypatch):
    names = tuple(f"structure_{number}" for number in range(1, 118))
    folder = make_folder(tmp_path / "model", ISOTROPIC, classes=names, seed=4)
    segmenter = contract(folder, image, tmp_path, monkeypatch, least=60)
    # The same labels where the scores of all classes are never held at once.
    tall = blobs((44, 20, 24), (6.0, 6.0, 6.0))
    slabs = run_stages(segmenter.stages(tall, plan=MemoryPlan(17, 0.0)))
    assert (slabs.labels.array == segmenter(tall).labels.array).all()


def test_labels_in_lists(image, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ISOTROPIC, seed=5)
    rewrite(
        folder / "dataset.json",
        lambda table: table.update(
            labels={"background": 0, "liver": [1], "spleen": [2], "aorta": [3]}
        ),
    )
    segmenter = contract(folder, image, tmp_path, monkeypatch)
    assert segmenter.model.networks[0].spec.foreground == ("liver", "spleen", "aorta")


def test_a_trainer_that_changes_the_network(image, tmp_path, monkeypatch):
    folder = with_trainer(make_folder(tmp_path / "model", ISOTROPIC), "nnUNetTrainerBN")
    _new_weights(folder)
    contract(folder, image, tmp_path, monkeypatch)


def test_a_trainer_that_nobody_knows_is_a_name(image, tmp_path, monkeypatch):
    # A module of this name would say so if it were imported.
    (tmp_path / "hospital_trainer.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = with_trainer(make_folder(tmp_path / "model", ISOTROPIC, seed=6), "hospital_trainer")
    stock = with_trainer(shutil.copytree(folder, tmp_path / "stock_model"), "nnUNetTrainer")
    contract(folder, image, tmp_path, monkeypatch, beside=stock)
    assert "hospital_trainer" not in sys.modules


# Classes of TotalSegmentator's five models; the labels make one map in this order.
PARTS: Mapping[str, tuple[str, ...]] = {
    "Dataset291_TotalSegmentator_part1_organs": ("spleen", "kidney_right", "kidney_left"),
    "Dataset292_TotalSegmentator_part2_vertebrae": ("sacrum", "vertebrae_L5", "vertebrae_L4"),
    "Dataset293_TotalSegmentator_part3_cardiac": ("heart", "aorta", "inferior_vena_cava"),
    "Dataset294_TotalSegmentator_part4_muscles": ("humerus_left", "femur_left", "brain"),
    "Dataset295_TotalSegmentator_part5_ribs": ("rib_left_1", "rib_right_1", "sternum"),
}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder of five models, as TotalSegmentator leaves them, with their list."""
    folder = tmp_path / "total"
    for seed, (name, classes) in enumerate(PARTS.items()):
        as_before_2_3_1(make_folder(folder / name / LAYOUT, ISOTROPIC, classes=classes, seed=seed))
    listed = [f"{name}/{LAYOUT}" for name in PARTS]
    (folder / "parts.json").write_text(json.dumps({"parts": listed}))
    return folder


def test_parts_make_one_map(parts, image, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    segmenter, ours = own(parts, image)
    assert [row.id for row in segmenter.taxonomy] == list(range(1, 16))
    assert segmenter.model.classes[:3] == ("spleen", "right_kidney", "left_kidney")
    monkeypatch.setattr("torch.half", __import__("torch").float32)
    merged, first = np.zeros_like(ours), 1
    for name, classes in PARTS.items():
        folder = parts / name / LAYOUT
        part = stock_labels(folder, image, tmp_path, monkeypatch, folds=(0,)).array
        merged[part > 0] = part[part > 0] + first - 1  # as TotalSegmentator lays them together
        first += len(classes)
    agree(ours, merged, least=6)
    # The same in the store, and as one bundle.
    add_model(str(parts), name="total")
    assert open_model(find_model("total")).hash == segmenter.model.hash
    bundle = Segmenter(export(parts, tmp_path / "bundle"), postprocess=())
    assert [network.name for network in bundle.model.networks] == list(PARTS)
    assert (bundle(read_image(image)).labels.array == ours).mean() > 0.999


def test_nnunets_own_archive(image, tmp_path, monkeypatch):
    pytest.importorskip("nnunetv2", reason="nnU-Net exports the archive, and is not installed")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    results = tmp_path / "results"
    where = "nnUNetTrainer__nnUNetPlans__"
    folder = make_folder(results / "Dataset999_test" / f"{where}3d_fullres", ISOTROPIC, seed=7)
    shutil.copytree(folder, folder.with_name(f"{where}2d"))
    for model in folder.parent.iterdir():
        (model / "fold_0" / "validation").mkdir()
        for name in ("fold_0/progress.png", "fold_0/validation/summary.json"):
            (model / name).write_bytes(b"{}")
        (model / "dataset_fingerprint.json").write_text("{}")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(results))
    from nnunetv2.model_sharing import model_export

    monkeypatch.setattr(model_export, "nnUNet_results", str(results), raising=False)
    archive = tmp_path / "model.zip"
    model_export.export_pretrained_model(
        "Dataset999_test", str(archive), ("2d", "3d_fullres"), folds=(0,)
    )
    added = add_model(str(archive))
    contract(added.path, image, tmp_path, monkeypatch, beside=folder)
