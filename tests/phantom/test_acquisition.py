"""Scans: what they cut, how they are tilted and stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.phantom.acquisition import (
    AXCODES,
    LOW_DOSE,
    draw_scan,
    scan_presets,
    to_stored_axes,
)
from nnstudent.phantom.patient import draw_patient


@given(codes=st.sampled_from(AXCODES))
def test_reoriented_axes_show_the_same_patient(codes, abdomens):
    case = abdomens[-1]
    turned = to_stored_axes(case.organs.reoriented().array, replace(case.scan, axcodes=codes))
    assert turned.grid.axcodes == codes
    assert np.array_equal(turned.reoriented().array, case.organs.reoriented().array)
    assert np.allclose(turned.reoriented().grid.affine, case.organs.reoriented().grid.affine)


def test_some_scans_cut_organs_and_some_are_tilted():
    scans = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scans.append(draw_scan(rng, scan_presets()["standard"], draw_patient(rng)))
    assert 10 < sum(not scan.whole for scan in scans) < 50
    assert 0 < sum(scan.tilt_deg != (0, 0, 0) for scan in scans) < 25
    assert len({scan.axcodes for scan in scans}) > 8
    assert min(scan.spacing_mm[0] for scan in scans) < 1.6
    assert max(scan.spacing_mm[0] for scan in scans) <= 5.0


def test_only_noise_tells_a_low_dose_from_the_usual_one():
    usual, varied = scan_presets()["standard"], replace(scan_presets()["standard"], unusual=0.3)
    low = 0
    for seed in range(60):
        patient = draw_patient(np.random.default_rng(seed))
        before, after = (
            draw_scan(np.random.default_rng(seed), preset, patient) for preset in (usual, varied)
        )
        assert replace(after, noise_hu=before.noise_hu) == before
        low += after.noise_hu >= LOW_DOSE[0] * before.noise_hu
        assert after.noise_hu <= LOW_DOSE[1] * before.noise_hu
    assert 8 < low < 30
    assert scan_presets()["varied"].unusual > 0 == usual.unusual
