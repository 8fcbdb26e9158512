"""What a lesion stage is shown: intensities relative to the nearest host."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.host_view import HU_PER_UNIT, host_view
from nnstudent.inference.lesion_stage import REACH_MM

LIVER, SPLEEN, AORTA = 1, 3, 5
SPACING = (4.0, 2.5, 2.5)


def scene(offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A liver of 110 HU with a lesion of 60, a spleen of 130 and an aorta of 170 in fat."""
    organs = np.zeros((12, 30, 60), np.uint8)
    organs[2:10, 5:25, 3:20] = LIVER
    organs[2:10, 5:25, 45:58] = SPLEEN
    organs[:, 12:16, 30:34] = AORTA
    hu = np.full(organs.shape, -90.0, np.float32)
    for label, value in ((LIVER, 110.0), (SPLEEN, 130.0), (AORTA, 170.0)):
        hu[organs == label] = value + offset
    hu[4:7, 10:14, 8:12] = 60.0 + offset
    return hu, organs


def test_a_host_is_shown_relative_to_its_median() -> None:
    hu, organs = scene()
    view, seen = host_view(hu, organs, [LIVER, SPLEEN], spacing_mm=SPACING)
    assert view[3, 20, 5] == 0
    assert view[3, 20, 50] == 0
    assert view[5, 12, 10] == pytest.approx(-50 / HU_PER_UNIT)
    assert seen[organs == LIVER].all()


def test_the_view_does_not_change_with_the_density_of_all_organs() -> None:
    plain, _ = host_view(*scene(), [LIVER, SPLEEN], spacing_mm=SPACING)
    bright, _ = host_view(*scene(60.0), [LIVER, SPLEEN], spacing_mm=SPACING)
    organs = scene()[1]
    inside = np.isin(organs, (LIVER, SPLEEN))
    np.testing.assert_allclose(plain[inside], bright[inside], atol=1e-5)


def test_a_lesion_that_the_label_lacks_is_seen_inside_its_host() -> None:
    hu, organs = scene()
    organs[4:7, 10:14, 8:12] = 0
    view, _ = host_view(hu, organs, [LIVER], spacing_mm=SPACING)
    assert view[5, 12, 10] == pytest.approx(-50 / HU_PER_UNIT)


def test_a_notch_at_the_border_is_seen_inside_its_host() -> None:
    hu, organs = scene()
    organs[4:7, 10:13, 17:20] = 0
    view, _ = host_view(hu, organs, [LIVER], spacing_mm=SPACING)
    assert view[5, 11, 18] == 0


def test_a_host_keeps_its_size() -> None:
    hu, organs = scene()
    view, _ = host_view(hu, organs, [LIVER], spacing_mm=SPACING)
    outside = np.ones(organs.shape, bool)
    outside[2:10, 5:25, 3:20] = False
    assert view[outside].max() <= -1


def test_nothing_is_shown_far_from_a_host() -> None:
    hu, organs = scene()
    view, seen = host_view(hu, organs, [LIVER], spacing_mm=SPACING)
    far = np.zeros(organs.shape, bool)
    far[:, :, 20 + int(REACH_MM / SPACING[2]) + 2 :] = True
    assert not seen[far].any()
    assert np.unique(view[far]).tolist() == [-3.0]
    beside = view[5, 12, 22]
    assert -3 <= beside <= -1
    assert seen[5, 12, 22]


def test_labels_that_are_no_hosts_count_as_background() -> None:
    hu, organs = scene()
    without = np.where(organs == AORTA, 0, organs)
    for one, other in zip(
        host_view(hu, organs, [LIVER], spacing_mm=SPACING),
        host_view(hu, without, [LIVER], spacing_mm=SPACING),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_without_a_host_nothing_is_seen() -> None:
    hu, organs = scene()
    view, seen = host_view(hu, np.zeros_like(organs), [LIVER], spacing_mm=SPACING)
    assert not seen.any()
    assert (view == -3).all()
