"""A network that knows the truth, and bodies to hide things in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nnstudent.inference.windows.sliding import Planner, pad, slide

AIR, TISSUE = -1000.0, 40.0


@dataclass
class Oracle:
    """Runs a planner with the truth, one-hot, in place of a network's logits.

    Attributes:
        truth: Channel of each voxel, (z, y, x).
        patch: Size of a window.
        classes: Channels.
        starts: Where the planner looked, in order.
    """

    truth: np.ndarray
    patch: tuple[int, int, int]
    classes: int = 15
    starts: list[tuple[int, int, int]] = field(default_factory=list)

    def segment(self, image: np.ndarray, planner: Planner) -> np.ndarray:
        """Labels that come of it."""
        return self.logits(image, planner).argmax(axis=0)

    def logits(
        self,
        image: np.ndarray,
        planner: Planner,
        *,
        change: Callable[[np.ndarray], np.ndarray] = lambda it: it,
    ) -> np.ndarray:
        """The mean of the windows' logits; ``change`` may make the oracle less sure."""
        padded, _ = pad(self.truth.astype(np.float32), self.patch)
        self.starts.clear()

        def listening(canvas, run_window):
            def heard(start, **keep):
                self.starts.append(start)
                return run_window(start, **keep)

            planner(canvas, heard)

        def network(window):
            place = tuple(slice(s, s + p) for s, p in zip(self.starts[-1], self.patch, strict=True))
            return change(
                10
                * (np.arange(self.classes)[:, None, None, None] == padded[place]).astype(np.float32)
            )

        logits, ran = slide(
            image, network, patch=self.patch, classes=self.classes, planner=listening
        )
        assert ran == len(self.starts)
        return logits


def ellipsoid(shape, center, radii, *, tilt: float = 0.0) -> np.ndarray:
    """Voxels in an ellipsoid tilted about the x axis, in radians; center and radii in voxels."""
    z, y, x = (
        np.arange(n, dtype=float).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, n in enumerate(shape)
    )
    z, y, x = z - center[0], y - center[1], x - center[2]
    z, y = np.cos(tilt) * z - np.sin(tilt) * y, np.sin(tilt) * z + np.cos(tilt) * y
    return (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1


def blob(body: np.ndarray, center, *, voxels: int) -> np.ndarray:
    """The body's voxels nearest to a voxel of it."""
    inside = np.argwhere(body)
    nearest = inside[np.argsort(((inside - center) ** 2).sum(axis=1), kind="stable")[:voxels]]
    mask = np.zeros(body.shape, bool)
    mask[tuple(nearest.T)] = True
    return mask
