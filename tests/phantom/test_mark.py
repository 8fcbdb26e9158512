from __future__ import annotations

import nibabel as nib
import numpy as np

from nnstudent.io.nifti import write_image
from nnstudent.phantom import make_cohort
from nnstudent.phantom.mark import DESCRIPTION, is_phantom
from nnstudent.volume import Grid, Volume


def test_phantoms_carry_their_mark_whatever_they_are_called(tmp_path):
    cohort = make_cohort(tmp_path / "c", cases=1, seed=0, preset="tiny", slices=8)
    image = cohort.cases[0].image
    assert is_phantom(image)
    assert nib.load(image).header["descrip"].item() == DESCRIPTION.encode()
    assert is_phantom(image.rename(tmp_path / "patient.nii.gz"))


def test_other_scans_do_not(tmp_path):
    image = Volume(np.zeros((3, 4, 5), np.int16), Grid((3, 4, 5), np.eye(4)))
    write_image(tmp_path / "a.nii.gz", image)
    write_image(tmp_path / "phantom_003.nii.gz", image)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    assert not is_phantom(tmp_path / "a.nii.gz")
    assert not is_phantom(tmp_path / "broken.nii.gz")
    assert not is_phantom(tmp_path / "none.nii.gz")
    assert is_phantom(tmp_path / "phantom_003.nii.gz"), "older ones have no mark, only their name"
