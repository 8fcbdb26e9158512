from __future__ import annotations

import numpy as np
import pytest

from nnstudent.bundle.plans import from_nnunet
from nnstudent.bundle.spec import Normalization
from nnstudent.errors import GeometryError
from nnstudent.inference.grid.preprocess import nonzero_box, normalize, preprocess
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, dataset, plans


def spec_of(settings, **more):
    return from_nnunet(
        plans(settings, **more), dataset(("liver", "spleen")), configuration="3d_fullres", name="m"
    )[0]


@pytest.mark.parametrize("settings", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize(
    "scheme",
    ["CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization"],
)
def test_it_is_nnunets_preprocessing(settings, transpose, scheme):
    stock = pytest.importorskip(
        "nnunetv2.preprocessing.preprocessors.default_preprocessor",
        reason="compares with nnU-Net, not installed",
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    written = plans(settings, reader="SimpleITKIO", transpose=transpose)
    configuration = written["configurations"]["3d_fullres"]
    configuration["normalization_schemes"] = [scheme]
    configuration["use_mask_for_norm"] = [scheme == "ZScoreNormalization"]
    spec, _ = from_nnunet(written, dataset(("liver",)), configuration="3d_fullres", name="m")
    image = blobs((24, 40, 50), (5.0, 2.1, 1.7))
    image.array[:3], image.array[:, :, 45:] = 0, 0  # something to crop
    manager = PlansManager(written)
    properties = {"spacing": [float(np.float32(mm)) for mm in image.spacing_mm]}
    expected, _, facts = stock.DefaultPreprocessor(verbose=False).run_case_npy(
        image.array[None],
        None,
        properties,
        manager,
        manager.get_configuration("3d_fullres"),
        dataset(("liver",)),
    )
    values, frame = preprocess(image, spec)
    assert frame.shape == expected.shape[1:]
    assert [[s.start, s.stop] for s in frame.box] == facts["bbox_used_for_cropping"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(values / scale, expected[0] / scale, atol=3e-5)


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIL"])
def test_the_networks_grid_does_not_depend_on_how_the_file_is_turned(axes):
    spec = spec_of(ISOTROPIC)
    image = blobs((24, 40, 50), (5.0, 2.1, 1.7))
    straight, _ = preprocess(image, spec)
    turned, _ = preprocess(image.reoriented(axes), spec)
    np.testing.assert_array_equal(straight, turned)


def test_as_stored_leaves_the_axes_alone():
    spec = spec_of(ISOTROPIC, reader="SimpleITKIO")
    image = blobs((24, 40, 50), (5.0, 2.1, 1.7))
    straight, _ = preprocess(image, spec)
    turned, _ = preprocess(image.reoriented("LPS"), spec)
    np.testing.assert_allclose(turned[:, ::-1, ::-1], straight, atol=1e-5)


def test_the_image_is_not_changed():
    image = blobs((12, 20, 20), (5.0, 3.0, 3.0))
    before = image.array.copy()
    for scheme in ("ct", "zscore", "none", "rescale"):
        normalize(image.array, Normalization(scheme, 1, 2, -100, 100))
    preprocess(image, spec_of(ISOTROPIC))
    np.testing.assert_array_equal(image.array, before)


def test_the_box_of_nothing_is_everything():
    assert nonzero_box(np.zeros((3, 4, 5))) == (slice(0, 3), slice(0, 4), slice(0, 5))
    array = np.zeros((6, 7, 8))
    array[2, 3, 4] = array[4, 5, 6] = 1
    assert nonzero_box(array) == (slice(2, 5), slice(3, 6), slice(4, 7))


def test_a_grid_that_cannot_be_held_is_refused(monkeypatch):
    monkeypatch.setattr("nnstudent.inference.grid.preprocess.MAX_VOXELS", 100)
    with pytest.raises(GeometryError, match="crop it first"):
        preprocess(blobs((12, 20, 20), (5.0, 3.0, 3.0)), spec_of(ISOTROPIC))


def test_thin_images_keep_a_slice():
    image = Volume(
        np.full((2, 30, 30), 40, np.int16), Grid((2, 30, 30), np.diag([3.0, 3.0, 0.5, 1.0]))
    )
    values, frame = preprocess(image, spec_of(ISOTROPIC))
    assert frame.shape[0] == 1
    assert np.isfinite(values).all()
