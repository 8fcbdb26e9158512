from __future__ import annotations

import pytest

from nnstudent.inference.labels.phase import guess_phase


@pytest.mark.parametrize(
    ("hu", "phase", "organ"),
    [
        ({"aorta": 310.0, "liver": 60.0}, "arterial", "aorta"),
        ({"aorta": 150.0, "right_kidney": 40.0}, "portal", "aorta"),
        ({"aorta": 40.0, "liver": 110.0}, "none", "aorta"),
        ({"right_kidney": 35.0, "left_kidney": 170.0}, "portal", "left_kidney"),
        ({"right_kidney": 35.0}, "none", "right_kidney"),
        ({"liver": 55.0}, "none", "liver"),
        ({"liver": 105.0}, "portal", "liver"),
    ],
)
def test_the_brightest_evidence_decides(hu, phase, organ):
    assert guess_phase(hu) == (phase, organ)


def test_without_an_organ_there_is_no_guess():
    assert guess_phase({"spleen": 120.0}) is None
