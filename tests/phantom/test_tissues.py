"""HU of tissues and lesions."""

from __future__ import annotations

import numpy as np

from nnstudent.phantom import PhantomCase
from nnstudent.phantom.patient import HOSTS, draw_patient
from nnstudent.phantom.tissues import LEAST_CONTRAST_HU, draw_tissues
from tests.phantom.conftest import IDS


def _mean_hu(case: PhantomCase, name: str) -> float:
    return float(np.median(case.image.array[case.truth.array == IDS[name]]))


def test_tissues_have_their_hu(abdomens):
    for case in abdomens:
        contrast = case.patient.phase != "none"
        assert (_mean_hu(case, "aorta") > 90) == contrast
        assert (_mean_hu(case, "right_kidney") > 70) == contrast
        assert -20 < _mean_hu(case, "liver") < 160
        assert case.image.array.min() < -900
        assert case.image.array.max() > 250  # bone
        assert np.median(case.image.array[case.image.array > -300]) < 90


def test_lesions_have_contrast_and_lie_in_several_hosts() -> None:
    several = 0
    for seed in range(200):
        patient = draw_patient(np.random.default_rng(seed), tumor=True)
        several += len(set(patient.lesions)) > 1
        look = draw_tissues(patient)
        for host in HOSTS:
            tissue = {"right_kidney": "kidney", "left_kidney": "kidney", "colon": "bowel"}.get(
                host, host
            )
            lesion = look[f"lesion_{host}"].hu
            assert abs(lesion - look[tissue].hu) >= LEAST_CONTRAST_HU - 1e-6
            assert lesion >= 15
    assert 20 < several < 100
