from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nnstudent.volume import Grid, Volume
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, make_folder

# Read when nnU-Net is imported; its default of eight threads crawls where there are fewer cores.
os.environ.setdefault("nnUNet_def_n_proc", "2")


@pytest.fixture(scope="session")
def isotropic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with isotropic spacing and linear resampling."""
    return make_folder(tmp_path_factory.mktemp("models") / "isotropic", ISOTROPIC)


@pytest.fixture(scope="session")
def anisotropic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that makes nnU-Net resample z separately, in plane by cubic splines."""
    return make_folder(tmp_path_factory.mktemp("models") / "anisotropic", ANISOTROPIC)


def blobs(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    seed: int = 0,
    axes: str = "RAS",
) -> Volume:
    """Something like a body: soft tissue with smooth lumps of other densities, in air."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), [12 / mm for mm in spacing])
    image = 40 + 150 * field / field.std() + 10 * rng.standard_normal(shape)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    image[:, (y**2 + x**2) > 0.9] = -1000
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = (-60, 30, -200)
    return Volume(np.round(image).astype(np.int16), Grid(shape, affine)).reoriented(axes)
