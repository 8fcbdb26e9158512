"""Whole path against stock nnU-Net on the same folder and image: labels must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.phantom import make_case
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_image
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, make_folder

AGREEMENT = 0.995  # mean DSC


def stock_labels(
    folder: Path, image: Path, out: Path, monkeypatch: pytest.MonkeyPatch, folds: tuple[int, ...], *, tta: bool = False
) -> np.ndarray:
    """nnU-Net's own label map, read with its own reader and written with its own writer."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(out))
    pytest.importorskip("nnunetv2", reason="compares with stock nnU-Net, which is not installed")
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=tta, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), folds)
    predictor.predict_from_files_sequential([[str(image)]], [str(out / "stock")], save_probabilities=False, overwrite=True)
    return read_labels(out / "stock.nii.gz").array


def dsc_by_channel(ours: Volume, stock: np.ndarray, ids: tuple[int, ...]) -> list[float]:
    scores = []
    for channel, id in enumerate(ids):
        a, b = stock == channel, ours.array == id
        if a.any() or b.any():
            scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return scores


def compare(
    folder: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, folds: tuple[int, ...] = (0,), exact: bool = True, **how
) -> None:
    segmenter = Segmenter(folder, postprocess=(), **how)
    ids = (0, *(segmenter.taxonomy[name].id for name in segmenter.model.networks[0].spec.foreground))
    ours = segmenter(read_image(image)).labels
    stock = stock_labels(folder, image, tmp_path, monkeypatch, folds, tta=how.get("tta", False))
    scores = dsc_by_channel(ours, stock, ids)
    assert len(scores) >= 3, "a network that finds one class only proves nothing"
    assert np.mean(scores) >= AGREEMENT, scores
    if exact:
        # nnU-Net sums windows in float16, so that where classes are nearly equal it decides by rounding; not so in float32.
        monkeypatch.setattr("torch.half", __import__("torch").float32)
        stock = stock_labels(folder, image, tmp_path, monkeypatch, folds, tta=how.get("tta", False))
        assert (np.array(ids)[stock] == ours.array).mean() >= 0.9999


def written(volume: Volume, path: Path) -> Path:
    write_image(path, volume)
    return path


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL"])
def test_a_synthetic_image_isotropic(isotropic, tmp_path, monkeypatch, axes):
    image = written(blobs((40, 52, 60), (5.0, 2.5, 2.2), axes=axes), tmp_path / "case.nii.gz")
    compare(isotropic, image, tmp_path, monkeypatch, exact=axes == "LPS")


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_synthetic_image_anisotropic(anisotropic, tmp_path, monkeypatch, engine):
    image = written(blobs((16, 60, 70), (5.0, 2.0, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(anisotropic, image, tmp_path, monkeypatch, engine=engine, exact=engine == "openvino")


def test_an_image_smaller_than_the_patch(anisotropic, tmp_path, monkeypatch):
    image = written(blobs((6, 30, 30), (5.0, 2.0, 2.2)), tmp_path / "case.nii.gz")
    compare(anisotropic, image, tmp_path, monkeypatch)


def test_an_ensemble_a_transposed_network_and_axes_as_stored(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ISOTROPIC, folds=(0, 1), reader="SimpleITKIO", transpose=(1, 0, 2), seed=3)
    image = written(blobs((30, 40, 44), (5.0, 2.5, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch, folds=(0, 1), exact=False)


def test_mirror_images_along_the_axes_of_training(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ISOTROPIC, mirroring=(0, 2), seed=4)
    image = written(blobs((20, 30, 34), (5.0, 4.0, 4.0)), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch, tta=True)
    without, with_ = (Segmenter(folder, tta=tta).predict(read_image(image)).values for tta in (False, True))
    assert np.abs(without - with_).max() > 0.1


def test_a_residual_encoder(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ANISOTROPIC | {"residual": True}, seed=6)
    image = written(blobs((12, 40, 50), (5.0, 2.0, 2.2)), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch)


def test_a_phantom(isotropic, tmp_path, monkeypatch):
    image = make_case(2, preset="tiny", slices=30).image
    compare(isotropic, written(image, tmp_path / "case.nii.gz"), tmp_path, monkeypatch, exact=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_a_real_ct(kind, real_data, tmp_path, monkeypatch, request):
    volume = read_image(real_data / "ts_example" / "ct.nii.gz")
    # Not all slices: stock nnU-Net takes a minute for them.
    image = written(cropped(volume, 50, 80), tmp_path / "case.nii.gz")
    compare(request.getfixturevalue(kind), image, tmp_path, monkeypatch, exact=False)


def cropped(volume: Volume, first: int, last: int) -> Volume:
    array = np.ascontiguousarray(volume.array[first:last])
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return Volume(array, Grid(array.shape, affine))
