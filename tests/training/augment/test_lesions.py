"""What the lesion painter changes and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.taxonomy import flare23
from nnstudent.training.augment.lesions import LEAST_HU, paint, phase_of
from nnstudent.training.augment.physiology import LESIONS, LOOK_ALIKES

SPACING = (4.0, 2.5, 2.5)
SHAPE = (24, 40, 48)
ORGANS = {name: flare23()[name].id for name in flare23().organs}
LIVER, KIDNEY, AORTA = ORGANS["liver"], ORGANS["left_kidney"], ORGANS["aorta"]


def patient(seed: int = 0, *, noise: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """A liver, a kidney and an aorta in fat: HU and labels."""
    labels = np.zeros(SHAPE, np.int16)
    labels[2:22, 4:36, 3:24] = LIVER
    labels[4:20, 8:24, 28:42] = KIDNEY
    labels[:, 30:36, 30:36] = AORTA
    hu = np.full(SHAPE, -100.0, np.float32)
    for value, mean in ((LIVER, 105.0), (KIDNEY, 160.0), (AORTA, 150.0)):
        hu[labels == value] = mean
    return hu + np.random.default_rng(seed).normal(0, noise, SHAPE).astype(np.float32), labels


def many(count: int = 60, **how: int) -> list:
    """Each window painted, with what is in it before: (before, after, labels, painted)."""
    done = []
    for seed in range(count):
        hu, labels = patient(seed)
        before = hu.copy()
        done.append(
            (
                before,
                hu,
                labels,
                paint(hu, labels, ORGANS, np.random.default_rng(seed), spacing_mm=SPACING, **how),
            )
        )
    return done


@pytest.fixture(scope="module")
def windows() -> list:
    return many(lesions=2, look_alikes=2)


def test_hosts_and_look_alikes_are_organs_of_the_table() -> None:
    for kind in (*LESIONS, *LOOK_ALIKES):
        assert set(kind.hosts) <= set(ORGANS), kind.name
        assert (kind.contrast_hu is None) != (kind.absolute_hu is None), kind.name
        for low, high in (kind.contrast_hu or {"": kind.absolute_hu}).values():
            assert low < high
        assert 4 <= kind.size_mm[0] < kind.size_mm[1] <= 120 or not kind.tumor


def test_lesions_of_many_kinds_and_sizes_come(windows: list) -> None:
    tumors = [one for *_, done in windows for one in done if one.kind.tumor]
    others = [one for *_, done in windows for one in done if not one.kind.tumor]
    assert len(tumors) > 60
    assert len(others) > 60
    assert {one.host for one in tumors} >= {"liver", "left_kidney"}
    assert {one.kind.name for one in others} == {kind.name for kind in LOOK_ALIKES}
    sizes = [int(one.mask.sum()) for one in tumors]
    assert min(sizes) >= 6
    assert max(sizes) > 20 * min(sizes)


def test_a_tumor_is_seen_against_its_host(windows: list) -> None:
    for _, after, labels, done in windows:
        for one in done:
            if one.kind.tumor:
                host = np.median(
                    after[(labels == ORGANS[one.host]) & ~np.any([each.mask for each in done], 0)]
                )
                rest = [each.mask for each in done if each is not one]
                own = one.mask & ~np.any(rest, 0) if rest else one.mask
                assert abs(after[own].mean() - host) > 0.5 * LEAST_HU


def test_what_is_far_from_all_that_was_painted_stays(windows: list) -> None:
    for before, after, _, done in windows:
        if not done:
            np.testing.assert_array_equal(before, after)
    hu, labels = patient(3)
    before = hu.copy()
    paint(
        hu, labels, ORGANS, np.random.default_rng(3), spacing_mm=SPACING, lesions=3, look_alikes=3
    )
    assert (hu[labels == AORTA] == before[labels == AORTA]).all(), (
        "no lesion grows in or into a vessel"
    )
    assert (hu != before).any()


def test_lesions_do_not_overlap(windows: list) -> None:
    for *_, done in windows:
        times = sum(
            (one.mask.astype(int) for one in done if one.kind.tumor), start=np.zeros(SHAPE, int)
        )
        assert times.max() <= 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(3, 25))
def test_a_lesion_keeps_the_noise_of_its_host(seed: int, noise: float) -> None:
    hu, labels = patient(seed, noise=noise)
    plain = {
        "rim": (0.0, (0.0, 0.0)),
        "necrosis": 0.0,
        "calcification": 0.0,
        "texture_hu": (0.0, 1.0),
    }
    kinds = [replace(kind, **plain) for kind in LESIONS if kind.name == "metastasis"]
    done = paint(
        hu,
        labels,
        ORGANS,
        np.random.default_rng(seed),
        spacing_mm=SPACING,
        lesions=1,
        look_alikes=0,
        kinds=kinds,
    )
    for one in done:
        if one.mask.sum() < 150:
            continue
        rough = [
            np.median(np.abs(np.diff(hu, axis=2))[where[:, :, 1:] & where[:, :, :-1]])
            for where in (one.mask, labels == LIVER)
        ]
        assert 0.4 < rough[0] / rough[1] < 2.5


def test_padding_is_no_organ() -> None:
    hu, labels = patient()
    labels[:2] = -1
    before = hu.copy()
    assert paint(
        hu, labels, ORGANS, np.random.default_rng(1), spacing_mm=SPACING, lesions=3, look_alikes=0
    )
    np.testing.assert_array_equal(hu[:2], before[:2])


def test_without_a_host_nothing_is_painted() -> None:
    hu, labels = patient()
    labels[:] = 0
    before = hu.copy()
    assert (
        paint(
            hu,
            labels,
            ORGANS,
            np.random.default_rng(0),
            spacing_mm=SPACING,
            lesions=4,
            look_alikes=4,
        )
        == []
    )
    np.testing.assert_array_equal(hu, before)


def test_the_same_draws_paint_the_same() -> None:
    first, second = many(3, lesions=2, look_alikes=1), many(3, lesions=2, look_alikes=1)
    for (_, one, _, _), (_, other, _, _) in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("aorta", "phase"), [(40.0, "none"), (300.0, "arterial"), (150.0, "portal")]
)
def test_the_phase_is_read_off_the_aorta(aorta: float, phase: str) -> None:
    hu, labels = patient()
    hu[labels == AORTA] = aorta
    assert phase_of(hu, labels, ORGANS) == phase
