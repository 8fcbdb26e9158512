"""Whole path against stock nnU-Net on the same folder and image: labels must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.export import export
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, write_image
from nnstudent.phantom import make_case
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, REGIONS_ORDER, make_folder
from tests.inference.stock import stock_labels

AGREEMENT, WORST = 0.999, 0.995  # mean DSC and that of each class


def dsc_by_channel(ours: Volume, stock: np.ndarray, ids: tuple[int, ...]) -> list[float]:
    scores = []
    for channel, id in enumerate(ids):
        a, b = stock == channel, ours.array == id
        if a.any() or b.any():
            scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return scores


def compare(
    folder: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    folds: tuple[int, ...] = (0,),
    as_shipped: bool = False,
    **how,
) -> None:
    segmenter = Segmenter(folder, postprocess=(), **how)
    spec = segmenter.model.networks[0].spec
    # Our id by the value that nnU-Net writes.
    values = [0, *(REGIONS_ORDER if spec.regions else range(1, len(spec.classes)))]
    ids = tuple(
        0 if value == 0 else segmenter.taxonomy[spec.classes[values.index(value)]].id
        for value in sorted(values)
    )
    ours = segmenter(read_image(image)).labels
    if not as_shipped:
        # nnU-Net sums windows in float16, so that rounding decides where classes are nearly equal,
        # which is everywhere with random weights; in float32 it does not.
        monkeypatch.setattr("torch.half", __import__("torch").float32)
    stock = stock_labels(
        folder, image, tmp_path, monkeypatch, folds=folds, tta=how.get("tta", False)
    ).array
    scores = dsc_by_channel(ours, stock, ids)
    assert len(scores) >= 3, "a network that finds one class only proves nothing"
    if as_shipped:
        assert np.mean(scores) >= 0.995, scores
        return
    assert np.mean(scores) >= AGREEMENT, scores
    assert min(scores) >= WORST, scores
    assert (np.array(ids)[stock] == ours.array).mean() >= 0.9998


def written(volume: Volume, path: Path) -> Path:
    write_image(path, volume)
    return path


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL"])
def test_a_synthetic_image_isotropic(isotropic, tmp_path, monkeypatch, axes):
    image = written(blobs((40, 52, 60), (5.0, 2.5, 2.2), axes=axes), tmp_path / "case.nii.gz")
    compare(isotropic, image, tmp_path, monkeypatch)


def test_sums_in_float16_as_nnunet_is_shipped(isotropic, tmp_path, monkeypatch):
    image = written(blobs((40, 52, 60), (5.0, 2.5, 2.2)), tmp_path / "case.nii.gz")
    compare(isotropic, image, tmp_path, monkeypatch, as_shipped=True)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_synthetic_image_anisotropic(anisotropic, tmp_path, monkeypatch, engine):
    image = written(blobs((16, 60, 70), (5.0, 2.0, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(anisotropic, image, tmp_path, monkeypatch, engine=engine)


def test_an_image_smaller_than_the_patch(anisotropic, tmp_path, monkeypatch):
    image = written(blobs((6, 30, 30), (5.0, 2.0, 2.2)), tmp_path / "case.nii.gz")
    compare(anisotropic, image, tmp_path, monkeypatch)


def test_an_ensemble_a_transposed_network_and_axes_as_stored(tmp_path, monkeypatch):
    folder = make_folder(
        tmp_path / "model",
        ISOTROPIC,
        folds=(0, 1),
        reader="SimpleITKIO",
        transpose=(1, 0, 2),
        seed=3,
    )
    image = written(blobs((30, 40, 44), (5.0, 2.5, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch, folds=(0, 1))


def test_mirror_images_along_the_axes_of_training(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ISOTROPIC, mirroring=(0, 2), seed=4)
    image = written(blobs((20, 30, 34), (5.0, 4.0, 4.0)), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch, tta=True)
    without, with_ = (
        Segmenter(folder, tta=tta).predict(read_image(image)).values for tta in (False, True)
    )
    assert np.abs(without - with_).max() > 0.1


# z is never pooled, and the first convolutions lie in the slice, as nnU-Net plans for thick slices.
FLAT = {
    "patch_size": [4, 64, 64],
    "spacing": [5.0, 1.2, 1.2],
    "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]],
    "flat_kernels": 2,
}


@pytest.mark.parametrize(
    "change",
    [
        {
            "patch_size": [20, 40, 32],
            "spacing": [4.0, 3.1, 3.3],
            "residual": True,
        },  # no power of two, no cube
        FLAT | {"residual": True},
        FLAT,
        {"spacing": [2.0, 2.0, 7.0], "patch_size": [24, 24, 8]},  # the coarse axis is the last
    ],
    ids=["odd-residual", "flat-residual", "flat", "sagittal"],
)
def test_other_plans(change, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model", ANISOTROPIC | change, seed=6)
    image = written(blobs((12, 36, 40), (5.0, 2.0, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "residual"])
def test_regions(kind, tmp_path, monkeypatch):
    settings = ISOTROPIC if kind == "isotropic" else ANISOTROPIC | {"residual": kind == "residual"}
    folds = (0, 1) if kind == "isotropic" else (0,)
    folder = make_folder(
        tmp_path / "model", settings, regions=True, folds=folds, mirroring=(1, 2), seed=7
    )
    image = written(blobs((12, 36, 40), (5.0, 2.0, 2.2), axes="LPS"), tmp_path / "case.nii.gz")
    compare(folder, image, tmp_path, monkeypatch, folds=folds, tta=kind == "residual")


def test_regions_of_a_bundle(tmp_path):
    folder = make_folder(tmp_path / "model", ISOTROPIC, regions=True, seed=7)
    image = blobs((20, 50, 56), (5.0, 2.0, 2.2))
    result, again = (
        Segmenter(export(folder, tmp_path / "bundle"), engine=engine)(image)
        for engine in ("openvino", "torch")
    )
    direct = Segmenter(folder)(image)
    for other in (again, direct):
        assert (
            result.labels.array == other.labels.array
        ).mean() > 0.999  # the bundle's weights are float16
    assert set(np.unique(result.labels.array)) == {0, 1, 2, 3}
    for facts in result.organs.values():
        assert 0.5 < facts.confidence < 1


def test_a_phantom(isotropic, tmp_path, monkeypatch):
    whole = make_case(2, preset="tiny", slices=30).image
    # An eighth of it, a part of the body in air: stock nnU-Net takes half a minute for the whole.
    image = cropped(whole, *(slice(0, n // 2) for n in whole.grid.shape))
    compare(isotropic, written(image, tmp_path / "case.nii.gz"), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_a_real_ct(kind, real_data, tmp_path, monkeypatch, request):
    volume = read_image(real_data / "ts_example" / "ct.nii.gz")
    # Not the whole of it: stock nnU-Net takes a minute for that.
    part = cropped(volume, slice(50, 70), slice(10, 66), slice(20, 84))
    image = written(part, tmp_path / "case.nii.gz")
    compare(request.getfixturevalue(kind), image, tmp_path, monkeypatch)


def cropped(volume: Volume, *box: slice) -> Volume:
    """A part of an image, from one index to another along z, y and x."""
    array = np.ascontiguousarray(volume.array[box])
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in reversed(box)]
    return Volume(array, Grid(array.shape, affine))
