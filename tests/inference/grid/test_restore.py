from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnstudent.bundle.plans import from_nnunet
from nnstudent.bundle.spec import Resampling
from nnstudent.errors import GeometryError
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.restore import restore
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, REGIONS_ORDER, dataset, plans

CLASSES = ("liver", "spleen", "aorta")


def scores_of(image: Volume, spec, *, smooth: float = 1.0, seed: int = 0, **more) -> ClassScores:
    _, frame = preprocess(image, spec)
    values = np.random.default_rng(seed).standard_normal((4, *frame.shape)).astype(np.float32)
    values = ndimage.gaussian_filter(values, (0, smooth, smooth, smooth)) if smooth else values
    if spec.regions:
        values[0] = 0
    how = more.get("how", spec.score_resampling)
    return ClassScores(
        values,
        "logits",
        spec.classes,
        (0, 1, 3, 5),
        spec.spacing_mm,
        how,
        frame,
        regions=spec.regions,
    )


@pytest.mark.parametrize("settings_", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("smooth", [0.0, 1.5])
@pytest.mark.parametrize(
    "how",
    [{"order": 1, "order_z": 0}, {"order": 1, "order_z": 1}, {"order": 3, "order_z": 0}],
    ids=str,
)
@pytest.mark.parametrize("regions", [False, True], ids=["classes", "regions"])
def test_it_is_nnunets_way_back(settings_, transpose, smooth, how, regions):
    stock = pytest.importorskip(
        "nnunetv2.inference.export_prediction",
        reason="compares with nnU-Net, which is not installed",
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    written = plans(settings_, reader="SimpleITKIO", transpose=transpose)
    written["configurations"]["3d_fullres"]["resampling_fn_probabilities_kwargs"] |= how
    data = dataset(CLASSES, regions=regions)
    spec, _ = from_nnunet(written, data, configuration="3d_fullres", name="m")
    image = blobs((24, 40, 50), (5.0, 2.1, 1.7))
    image.array[:, :3] = 0  # cropped away, and put back as background
    scores = scores_of(image, spec, smooth=smooth)
    manager = PlansManager(written)
    properties = {
        "spacing": list(image.spacing_mm),
        "shape_before_cropping": tuple(image.array.shape[axis] for axis in transpose),
        "shape_after_cropping_and_before_resampling": tuple(
            s.stop - s.start for s in scores.frame.box
        ),
        "bbox_used_for_cropping": [[s.start, s.stop] for s in scores.frame.box],
    }
    expected = stock.convert_predicted_logits_to_segmentation_with_correct_shape(
        scores.values[1:] if regions else scores.values,
        manager,
        manager.get_configuration("3d_fullres"),
        manager.get_label_manager(data),
        properties,
        num_threads_torch=2,
    )
    labels = restore(scores, image.grid, threads=2).array
    written_as = np.array(scores.ids)
    if regions:
        written_as[REGIONS_ORDER] = scores.ids[1:]
    on_device = restore(scores, image.grid, device="cpu", slab_mm=17).array
    assert (labels != on_device).mean() < 2e-5
    wrong = (labels != written_as[expected]).mean()
    assert wrong < 2e-5, (
        f"{wrong:.1e} of the voxels differ"
    )  # float32 against float64 where two classes tie


@settings(max_examples=25, deadline=None)
@given(slab_mm=st.floats(1, 300), threads=st.integers(1, 3), seed=st.integers(0, 5))
def test_the_thickness_of_slabs_changes_nothing(slab_mm, threads, seed):
    spec, _ = from_nnunet(plans(ISOTROPIC), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
    scores = scores_of(image, spec, seed=seed)
    whole = restore(scores, image.grid, slab_mm=1e6, threads=1)
    np.testing.assert_array_equal(
        restore(scores, image.grid, slab_mm=slab_mm, threads=threads).array, whole.array
    )


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "IPL"])
def test_labels_lie_as_the_image_does(axes):
    spec, _ = from_nnunet(plans(ISOTROPIC), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
    turned = image.reoriented(axes)
    straight = restore(scores_of(image, spec), image.grid)
    labels = restore(scores_of(turned, spec), turned.grid)
    assert labels.grid is turned.grid
    np.testing.assert_array_equal(labels.reoriented("RAS").array, straight.array)


def test_the_same_grid_needs_no_resampling():
    spec, _ = from_nnunet(plans(ISOTROPIC), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((12, 13, 14), (6.0, 6.0, 6.0))
    scores = scores_of(image, spec)
    np.testing.assert_array_equal(
        restore(scores, image.grid).array, np.array(scores.ids)[scores.values.argmax(0)]
    )


def test_more_than_nearest_and_linear_is_done_too():
    spec, _ = from_nnunet(plans(ISOTROPIC), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
    cubic = restore(scores_of(image, spec, smooth=2.0, how=Resampling(3, 0)), image.grid).array
    linear = restore(scores_of(image, spec, smooth=2.0), image.grid).array
    assert 0.9 < (cubic == linear).mean() < 1


def test_another_images_grid_is_refused():
    spec, _ = from_nnunet(plans(ISOTROPIC), dataset(CLASSES), configuration="3d_fullres", name="m")
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7))
    with pytest.raises(GeometryError, match="own grid"):
        restore(scores_of(image, spec), Grid(image.grid.shape, image.grid.affine + np.eye(4)))
