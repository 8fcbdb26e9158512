"""Restoring to the image's grid on a torch device, where the network ran."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnstudent.errors import require
from nnstudent.inference.grid.resample import neighbors
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Shape


class TorchLinear:
    """Best channels by linear or nearest interpolation of every class on the device."""

    def __init__(
        self, values: Float32Array, shape: Shape, orders: Shape, *, regions: bool, device: str
    ) -> None:
        """Copy the scores (class, z, y, x) to the device.

        Args:
            values: The scores.
            shape: Shape of the image, in the scores' axes.
            orders: Order of interpolation along each axis, 0 or 1.
            regions: Whether classes may overlap.
            device: Such as ``cuda``; ``cpu`` gives the same result.

        Raises:
            MissingExtraError: torch is not installed.
        """
        self._torch = require("torch", extra="torch", why="restoring on a device")
        self._device, self._regions = device, regions
        self._values = self._torch.from_numpy(np.ascontiguousarray(values)).to(device)
        self._axes = [
            neighbors(have, want, order)
            for have, want, order in zip(values.shape[1:], shape, orders, strict=True)
        ]

    def __call__(self, slab: slice) -> LabelArray:
        """Best channels of these slices along the first axis, (z, y, x)."""
        torch = self._torch
        with torch.inference_mode():
            scores = self._values
            for axis, parts in enumerate(self._axes, start=1):
                lower, upper, share = (
                    torch.from_numpy(part[slab] if axis == 1 else part).to(self._device)
                    for part in parts
                )
                size = [-1 if k == axis else 1 for k in range(4)]
                low = scores.index_select(axis, lower)
                scores = (
                    low.lerp_(scores.index_select(axis, upper), share.view(size))
                    if bool(share.any())
                    else low
                )
            labels: LabelArray = self._best(scores).to(torch.uint8).cpu().numpy()
        return labels

    def _best(self, scores: Any) -> Any:
        if not self._regions:
            return scores.argmax(dim=0)
        best = self._torch.zeros(scores.shape[1:], dtype=self._torch.uint8, device=scores.device)
        for channel in range(1, len(scores)):
            best[scores[channel] > scores[0]] = channel
        return best
