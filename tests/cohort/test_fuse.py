"""The rules of fusing, as properties that hold for every pair of label maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnstudent.cohort.fuse import fuse
from nnstudent.errors import GeometryError, InputError
from nnstudent.taxonomy import LabelClass, Taxonomy

# Two lesions and ids with a gap, so that nothing can rest on FLARE's table.
TABLE = Taxonomy(
    "toy",
    (
        LabelClass(1, "liver"),
        LabelClass(2, "kidney"),
        LabelClass(4, "spleen"),
        LabelClass(7, "tumor", kind="lesion"),
        LabelClass(9, "cyst", kind="lesion"),
    ),
)
LESIONS = (7, 9)
maps = hnp.arrays(np.uint8, (2, 3, 4), elements=st.sampled_from((0, *TABLE.ids)))
sets = st.sets(st.sampled_from(TABLE.ids))


@given(truth=maps, pseudo=maps, annotated=sets)
def test_an_annotated_class_is_where_the_truth_has_it(truth, pseudo, annotated):
    fused = fuse(truth, pseudo, annotated=annotated, taxonomy=TABLE)
    for id in annotated:
        assert not ((fused == id) & (truth != id)).any(), (
            "a pseudo-label added voxels to an annotated class"
        )
        lost = (truth == id) & (fused != id)
        if id in LESIONS:
            assert not lost.any(), "an annotated lesion lost voxels"
        free = [lesion for lesion in LESIONS if lesion not in annotated]
        assert np.isin(fused[lost], free).all()
        assert (fused[lost] == pseudo[lost]).all()


@given(truth=maps, pseudo=maps, annotated=sets)
def test_a_class_that_is_not_annotated_comes_from_the_pseudo_label_alone(truth, pseudo, annotated):
    fused = fuse(truth, pseudo, annotated=annotated, taxonomy=TABLE)
    held = np.where(np.isin(truth, list(annotated)), truth, 0)
    for id in set(TABLE.ids) - annotated:
        room = held == 0 if id not in LESIONS else ~np.isin(held, LESIONS)
        np.testing.assert_array_equal(fused == id, (pseudo == id) & room)


@given(truth=maps, pseudo=maps)
def test_full_truth_is_kept_as_it_is(truth, pseudo):
    np.testing.assert_array_equal(fuse(truth, pseudo, annotated=TABLE.ids, taxonomy=TABLE), truth)


@given(truth=maps, pseudo=maps)
def test_without_annotation_the_pseudo_label_is_kept_as_it_is(truth, pseudo):
    np.testing.assert_array_equal(fuse(truth, pseudo, annotated=(), taxonomy=TABLE), pseudo)
    np.testing.assert_array_equal(fuse(None, pseudo, annotated=(), taxonomy=TABLE), pseudo)


@given(truth=maps, pseudo=maps, annotated=sets)
def test_fusing_again_changes_nothing_and_inputs_are_left_alone(truth, pseudo, annotated):
    before = truth.copy(), pseudo.copy()
    once = fuse(truth, pseudo, annotated=annotated, taxonomy=TABLE)
    np.testing.assert_array_equal(fuse(once, pseudo, annotated=annotated, taxonomy=TABLE), once)
    np.testing.assert_array_equal(truth, before[0])
    np.testing.assert_array_equal(pseudo, before[1])


def test_a_found_tumor_lies_over_an_annotated_organ_but_an_organ_never_over_a_tumor():
    truth = np.array([[[1, 1, 7, 0]]], np.uint8)
    pseudo = np.array([[[7, 1, 4, 4]]], np.uint8)
    organs = fuse(truth, pseudo, annotated={1, 2}, taxonomy=TABLE)
    assert organs.tolist() == [
        [[7, 1, 4, 4]]
    ]  # the truth's tumor was not annotated: the spleen fills it
    both = fuse(truth, pseudo, annotated={1, 7}, taxonomy=TABLE)
    assert both.tolist() == [[[1, 1, 7, 4]]]


def test_what_does_not_fit_is_refused():
    small, large = np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 2), np.uint8)
    with pytest.raises(GeometryError, match=r"\(1, 1, 1\)"):
        fuse(small, large, annotated=(), taxonomy=TABLE)
    with pytest.raises(InputError, match="id 3 is not in the label table toy"):
        fuse(small + 3, small, annotated=(), taxonomy=TABLE)
    with pytest.raises(InputError, match="neither"):
        fuse(None, None, annotated=(), taxonomy=TABLE)
