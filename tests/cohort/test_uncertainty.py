"""Uncertainty of labels that were fused from several sources."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.uncertainty import Uncertainty, combine_uncertainty, fused_uncertainty
from nnstudent.taxonomy import LabelClass, Taxonomy


@pytest.fixture
def toy() -> Taxonomy:
    return Taxonomy(
        "toy",
        (LabelClass(1, "liver"), LabelClass(2, "kidney"), LabelClass(3, "tumor", kind="lesion")),
    )


def _array(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def test_without_a_label_of_its_own_a_voxel_has_the_lower_probability():
    predicted = _array(2, 0, 0, 3)
    own = Uncertainty(_array(200, 90, 250, 10), _array(3, 2, 2, 0))
    before = Uncertainty(_array(50, 240, 60, 230), _array(4, 4, 4, 4))
    after = combine_uncertainty(
        _array(2, 1, 0, 1), predicted, own, beneath=_array(1, 1, 0, 1), before=before
    )
    assert after.probability.tolist() == [200, 90, 60, 10]
    # The last label was overruled, so that its runner-up is not that of the label that stands.
    assert after.runner_up.tolist() == [3, 2, 4, 4]


def test_a_runner_up_of_background_gives_way_to_the_label_beneath():
    predicted, own = _array(9, 9), Uncertainty(_array(150, 150), _array(0, 0))
    after = combine_uncertainty(
        predicted, predicted, own, beneath=_array(1, 0), before=Uncertainty.certain((2,))
    )
    assert after.runner_up.tolist() == [1, 0]


def test_only_what_the_truth_allows_stays_uncertain(toy: Taxonomy):
    liver, kidney, tumor = (toy[name].id for name in ("liver", "kidney", "tumor"))
    #              background: 3 ways, the liver: 3 ways, decided by the truth
    truth = _array(0, 0, 0, liver, liver, liver, liver)
    prediction = _array(kidney, 0, 0, liver, tumor, liver, kidney)
    other = _array(0, kidney, liver, tumor, 0, kidney, tumor)
    fused = fuse(truth, prediction, annotated=[liver], taxonomy=toy)
    given = Uncertainty(np.full(7, 140, np.uint8), other)
    found = fused_uncertainty(
        fused, truth, prediction, given, annotated=[liver], filled=[kidney, tumor], taxonomy=toy
    )
    assert found.probability.tolist() == [140, 140, 255, 140, 140, 255, 255]
    assert found.runner_up.tolist() == [0, kidney, 0, tumor, liver, 0, 0]
    alone = fused_uncertainty(
        prediction, None, prediction, given, annotated=[], filled=[kidney, tumor], taxonomy=toy
    )
    # Without truth, the liver is neither annotated nor filled in: it is left open.
    assert alone.probability[:3].tolist() == [140, 140, 255]
