"""The anatomy of phantoms: what a radiologist would check first."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.phantom import make_case
from tests.phantom.conftest import IDS, SEEDS


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31))
def test_a_case_is_complete(seed):
    case = make_case(seed, preset="tiny", tumor=True)
    assert case.image.array.dtype == np.int16
    assert case.truth.array.dtype == np.uint8
    assert case.image.grid.matches(case.truth.grid)
    assert np.isfinite(case.image.grid.affine).all()
    assert set(np.unique(case.truth.array)) <= {0, *IDS.values()}
    lesion = case.truth.array == 14
    assert lesion.any()
    assert np.array_equal(np.where(lesion, case.organs.array, case.truth.array), case.organs.array)
    hosts = {IDS.get(host, 0) for host in case.patient.lesions}
    assert (
        np.isin(case.organs.array[lesion], list(hosts)).mean() > 0.97
    )  # the edge is cut at the resolution of the voxels


def test_the_number_of_threads_changes_no_voxel():
    code = (
        "import zlib; from nnstudent.phantom import make_case; "
        f"c = make_case({SEEDS[-1]}, preset='tiny', slices=16);"
        "print(zlib.crc32(c.image.array), zlib.crc32(c.truth.array))"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    here = os.environ.get("OMP_NUM_THREADS")  # of this process; unset: as many as there are cores
    there = "3" if here == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | dict.fromkeys(names, there),
        capture_output=True,
        check=True,
        text=True,
    )
    case = make_case(SEEDS[-1], preset="tiny", slices=16)
    expected = [zlib.crc32(case.image.array), zlib.crc32(case.truth.array)]
    assert [int(word) for word in done.stdout.split()] == expected


def test_an_unknown_preset_is_one_line():
    with pytest.raises(InputError, match=r"huge.*tiny"):
        make_case(0, preset="huge")
    with pytest.raises(InputError, match="1 slices"):
        make_case(0, preset="tiny", slices=1)
