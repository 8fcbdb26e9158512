"""What a calibration says beside the truth."""

from __future__ import annotations

from dataclasses import replace

from nnstudent.quality.fit import calibrate
from nnstudent.quality.judged import judged
from tests.quality.cases import known_cases


def test_an_organ_counts_that_was_found_and_whose_truth_is_known() -> None:
    cases = known_cases(5, 41)
    model = calibrate(cases[:-1])
    case = replace(cases[-1], dice={"liver": 0.4, "pancreas": 0.5})
    (item,) = judged(model, {"scan": case})
    said = model(case.features)["liver"]
    assert (item.scan, item.organ, item.true) == ("scan", "liver", 0.4)
    assert (item.expected, item.low, item.high) == (said.expected_dice, said.low, said.high)
    assert item.inside == (said.low <= 0.4 <= said.high)
    assert replace(item, true=item.low).inside
    assert not replace(item, true=item.high + 0.01).inside
