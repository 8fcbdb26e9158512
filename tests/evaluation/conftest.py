from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.scenes import organs, save


@pytest.fixture(scope="session")
def oracle() -> Iterator[ModuleType]:
    """The surface-distance package, which names things that newer numpy and scipy dropped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "Inf", np.inf, raising=False)
        patch.setattr(np, "NaN", np.nan, raising=False)
        patch.setattr(
            ndimage, "filters", SimpleNamespace(correlate=ndimage.correlate), raising=False
        )
        patch.setattr(
            ndimage,
            "morphology",
            SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt),
            raising=False,
        )
        try:
            yield importlib.import_module("surface_distance")
        except ImportError:
            pytest.skip(
                "the surface-distance package, which the metrics are compared to, is not installed"
            )


@pytest.fixture
def folders(tmp_path):
    """Two cases, the second shifted; each with 13 organs and a tumor."""
    for id, shift in (("a", 0), ("b", 1)):
        save(tmp_path / "truth" / f"{id}.nii.gz", organs(tumor=True))
        save(tmp_path / "pred" / f"{id}.nii.gz", organs(shift=shift, tumor=True))
    return tmp_path / "pred", tmp_path / "truth"


@pytest.fixture
def methods(tmp_path):
    """Six cases; the first method is exact, the second is shifted in all cases but one."""
    for index in range(6):
        save(tmp_path / "truth" / f"c{index}.nii.gz", organs(tumor=True))
        save(tmp_path / "good" / f"c{index}.nii.gz", organs(tumor=True))
        save(tmp_path / "poor" / f"c{index}.nii.gz", organs(shift=int(index > 0), tumor=True))
    return tmp_path
