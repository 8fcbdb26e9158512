"""Training windows as a lesion stage sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.errors import InputError  # noqa: E402
from nnstudent.inference.host_view import host_view  # noqa: E402
from nnstudent.training.augment.host_view import HostView, make_host_view  # noqa: E402
from tests.training.augment.test_lesions import LIVER, SPACING, patient  # noqa: E402
from tests.training.conftest import tiny_recipe  # noqa: E402

TUMOR = 14
MEAN, STD = 60.0, 50.0


FAR = np.s_[:2, -2:, -2:]


def window(seed: int) -> tuple[np.ndarray, np.ndarray, dict]:
    """HU and labels of a patient with one lesion in the liver and one far away, as a window."""
    hu, labels = patient(seed)
    deep = ndimage.distance_transform_edt(labels == LIVER)
    z, y, x = np.unravel_index(deep.argmax(), deep.shape)
    labels[z - 1 : z + 2, y - 2 : y + 2, x - 2 : x + 2] = TUMOR
    labels[FAR] = TUMOR
    data = {
        "image": torch.from_numpy((hu - MEAN) / STD)[None].float(),
        "segmentation": torch.from_numpy(labels.astype(np.float32))[None],
    }
    return hu, labels, data


def view(*, perfect: bool) -> HostView:
    return HostView(
        [LIVER], lesions=[TUMOR], spacing_mm=SPACING, mean=MEAN, std=STD, perfect=perfect
    )


def test_a_perfect_view_is_that_of_inference() -> None:
    hu, labels, data = window(0)
    organs = np.where(labels == TUMOR, LIVER, labels)
    organs[FAR] = 0
    expected, _ = host_view(hu.astype(np.float32), organs, [LIVER], spacing_mm=SPACING)
    shown = view(perfect=True)(**data)["image"][0].numpy()
    np.testing.assert_allclose(shown, expected, atol=1e-3)


def test_a_lesion_that_is_not_shown_is_background() -> None:
    for perfect in (True, False):
        _, labels, data = window(1)
        after = view(perfect=perfect)(**data)["segmentation"][0].numpy()
        assert not (after[FAR] == TUMOR).any()
        near = labels.copy()
        near[FAR] = 0
        assert ((near == TUMOR) == (after == TUMOR)).all()


def test_outlines_are_imperfect_in_training() -> None:
    np.random.seed(0)  # noqa: NPY002
    different = 0
    for seed in range(10):
        perfect = view(perfect=True)(**window(seed)[2])["image"]
        different += not torch.equal(perfect, view(perfect=False)(**window(seed)[2])["image"])
    assert 3 <= different <= 10


def test_hosts_that_are_not_learned_are_refused() -> None:
    recipe = tiny_recipe()
    given = {"channels": {"liver": 1, "tumor": 2}, "intensity": {"mean": 0.0, "std": 1.0}}
    assert make_host_view(recipe, **given, lesions=[2], perfect=True) is None
    asked = replace(recipe, data=replace(recipe.data, hosts=("liver",)))
    made = make_host_view(asked, **given, lesions=[2], perfect=True)
    assert made is not None
    assert made.hosts == [1]
    wrong = replace(recipe, data=replace(recipe.data, hosts=("pancreas",)))
    for one, lesions in ((wrong, [2]), (asked, [])):
        with pytest.raises(InputError, match="among the classes to learn"):
            make_host_view(one, **given, lesions=lesions, perfect=True)
