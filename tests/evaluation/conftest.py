from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage


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
