from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np

from nnstudent.report.costs import size_of


def test_the_size_is_read_whatever_the_name_and_the_first_readable_image_counts(tmp_path):
    content = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([0.8, 0.9, 2.5, 1])).to_bytes()
    damaged, misnamed = tmp_path / "damaged.nii.gz", tmp_path / "misnamed.nii"
    damaged.write_bytes(gzip.compress(content)[:40])
    misnamed.write_bytes(gzip.compress(content))
    assert size_of(None, tmp_path / "missing.nii.gz", damaged, misnamed) == (4, 5, 6)
    assert size_of(damaged) is None
