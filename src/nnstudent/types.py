"""Array types, one name for each meaning. Spatial axes are (z, y, x) unless stated otherwise."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item", bound=np.generic)  # the type of an array's items, whatever it is
LabelArray = npt.NDArray[np.uint8]  # class ids, 0 for background
MaskArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
