"""Left and right told apart in one class."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp

from nnstudent.io.nifti import write_labels
from nnstudent.labels.sides import split_sides
from nnstudent.volume import Grid, Volume
from tests.labels.test_relabel import GRID, blocks, names_in, run


def test_two_kidneys_in_one_class_are_told_apart_in_any_orientation(tmp_path):
    for axcodes in ("RAS", "LPS", "PSL"):
        both = blocks(v1=(5, 12)).array + blocks(v1=(45, 50)).array
        folder = tmp_path / axcodes
        write_labels(folder / "in" / "k.nii.gz", Volume(both, GRID).reoriented(axcodes))
        done = run([folder / "in"], folder / "out", "kits")
        # The larger block is at small x, which is the patient's left.
        assert names_in(done.files["k"][0]) == {"left_kidney": 280, "right_kidney": 200}
        assert not done.notices


def test_one_kidney_is_told_by_the_middle_of_the_image_and_that_is_said(tmp_path):
    write_labels(tmp_path / "k.nii.gz", blocks(v1=(45, 50)))
    done = run([tmp_path / "k.nii.gz"], tmp_path / "out.nii.gz", "kits")
    assert names_in(tmp_path / "out.nii.gz") == {"right_kidney": 200}
    assert "middle of the image" in done.notices[0]


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)))
def test_sides_part_any_mask(mask):
    right, left, _ = split_sides(mask, Grid(mask.shape, np.diag([9.0, 9.0, 9.0, 1.0])))
    assert np.array_equal(right | left, mask)
    assert not (right & left).any()
