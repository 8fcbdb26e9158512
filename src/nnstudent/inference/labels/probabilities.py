"""The probability of every class at every voxel, of which one class at a time is interpolated.

Probabilities are kept on the network's grid, in a temporary file or in memory, as slabs of scores
arrive. Each class is interpolated to the image's grid when it is asked for, as labels are.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

import numpy as np

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.grid.resample import apply_along, axis_orders, operator
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.types import Float32Array, LabelArray
from nnstudent.volume import Grid, Volume

_SLAB_VOXELS = 1 << 23  # image voxels interpolated at once
_CERTAIN = 255
_ALL = slice(None)


class NetworkProbabilities:
    """The probabilities that one network gives each class, on its own grid.

    Attributes:
        classes: Class names by channel; channel 0 is background.
        frame: How the network's grid lies in the part of the image that the network saw.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        frame: Frame,
        *,
        classes: tuple[str, ...],
        in_memory: bool = False,
    ) -> None:
        """Begin with probabilities of 0, in a temporary file or in memory."""
        self.classes, self.frame = classes, frame
        self._orders = axis_orders(spec.score_resampling, spec.spacing_mm, frame.spacing_mm)
        self._file: IO[bytes]
        if in_memory:
            self._file = io.BytesIO()
        else:
            self._file = tempfile.TemporaryFile(prefix="nnstudent-")  # noqa: SIM115  # see close
        self._plane = frame.shape[1] * frame.shape[2]

    def add(self, scores: ClassScores) -> None:
        """Keep the probabilities of all scores, or of a slab of them."""
        for z in range(scores.values.shape[1]):
            plane = replace(scores, values=scores.values[:, z : z + 1], slab=True).probabilities()
            values = plane.values[:, 0]
            if scores.regions:  # background has no probability of its own
                values = np.concatenate([1 - values[1:].max(axis=0, keepdims=True), values[1:]])
            for channel, part in enumerate([*values, 1 - values.max(axis=0)]):
                self._write(channel, scores.first + z, part)

    def _write(self, channel: int, z: int, values: Float32Array) -> None:
        self._file.seek((channel * self.frame.shape[0] + z) * self._plane)
        self._file.write(np.rint(values * _CERTAIN).clip(0, _CERTAIN).astype(np.uint8).tobytes())

    def restore(self, channel: int, onto: LabelArray, *, keep_larger: bool = False) -> None:
        """Interpolate one channel to the image's grid.

        Args:
            channel: The class's, or the number of classes for the uncertainty.
            onto: Where it is written to, on the grid of ``frame``, uint8.
            keep_larger: Whether a larger value that is there stays.
        """
        target = self.frame.view(onto)
        if not keep_larger:
            target[...] = 0
        _interpolate(self.read(channel), target, self._orders)

    def volume(self, channel: int) -> Volume:
        """One channel on the network's own grid, with its axes in the order (z, y, x).

        Args:
            channel: See :meth:`restore`.

        Returns:
            Probabilities, 255 for certain, uint8.
        """
        frame = self.frame
        turned = frame.grid if frame.axcodes is None else frame.grid.reoriented(frame.axcodes)
        back = np.argsort(frame.transpose)
        z, y, x = (frame.box[axis] for axis in back)
        array = self.read(channel).transpose(back)
        return Volume(array, turned.cropped((z, y, x)).resampled(array.shape))

    def read(self, channel: int, planes: slice = _ALL) -> LabelArray:
        """One channel in the network's axes, or some planes of it; 255 for certain."""
        count, height, width = self.frame.shape
        first, stop, _ = planes.indices(count)
        self._file.seek((channel * count + first) * self._plane)
        values = np.zeros((stop - first) * self._plane, np.uint8)
        read = np.frombuffer(self._file.read(len(values)), np.uint8)
        values[: len(read)] = read
        return values.reshape(stop - first, height, width)

    def close(self) -> None:
        """Free the memory, or remove the temporary file."""
        self._file.close()


class ProbabilityMaps:
    """The probabilities that the networks of a model give each class in one image.

    Attributes:
        grid: The image's grid.
        networks: The networks, in the order in which they ran.
    """

    def __init__(self, grid: Grid, *, most_bytes: float = math.inf) -> None:
        """Begin without a network.

        Args:
            grid: The image's grid.
            most_bytes: Disk space that may be taken; networks that would take more are left out.
        """
        self.grid = grid
        self.networks: list[NetworkProbabilities] = []
        self._left = most_bytes

    def of_network(
        self, spec: NetworkSpec, frame: Frame, *, classes: tuple[str, ...] | None = None
    ) -> NetworkProbabilities | None:
        """Add a network, whose scores are then added to what is returned.

        Args:
            spec: The network.
            frame: How its grid lies in the image.
            classes: The classes of the scores by channel; by default the network's. A lesion stage
                knows organs too, but its scores are of lesions only.

        Returns:
            The network's probabilities; None if they take too much space.
        """
        classes = classes or spec.classes
        size = (len(classes) + 1) * math.prod(frame.shape)
        if size > self._left:
            return None
        self._left -= size
        kept = NetworkProbabilities(spec, frame, classes=classes)
        self.networks.append(kept)
        return kept

    def probability(self, name: str) -> Volume:
        """Return the probability of a class, from 0 to 255 for certain.

        Where a later network looked, it decides. Where none that knows the class looked, it is 0.

        Args:
            name: The class.

        Returns:
            Probabilities on the image's grid, uint8.
        """
        array = np.zeros(self.grid.shape, np.uint8)
        for network in self.networks:
            if name in network.classes:
                network.restore(network.classes.index(name), self._part(network, array))
        return Volume(array, self.grid)

    def uncertainty(self) -> Volume:
        """Return how uncertain each voxel's class is, from 0 for certain to 255.

        It is 1 less the probability of the most probable class, background among them; the largest
        of all networks that looked there.

        Returns:
            Uncertainty on the image's grid, uint8.
        """
        array = np.zeros(self.grid.shape, np.uint8)
        for network in self.networks:
            channel = len(network.classes)
            network.restore(channel, self._part(network, array), keep_larger=True)
        return Volume(array, self.grid)

    def close(self) -> None:
        """Remove the temporary files."""
        for network in self.networks:
            network.close()

    def _part(self, network: NetworkProbabilities, array: LabelArray) -> LabelArray:
        """The part of an array on the image's grid that a network saw, a view."""
        part = network.frame.grid
        # A second stage sees a part of the image in canonical axes.
        whole = Volume(array, self.grid).reoriented(part.axcodes)
        first = np.linalg.inv(whole.grid.affine) @ part.affine[:, 3]
        z, y, x = (round(float(at)) for at in first[2::-1])
        dz, dy, dx = part.shape
        return whole.array[z : z + dz, y : y + dy, x : x + dx]


def _interpolate(values: LabelArray, target: LabelArray, orders: Sequence[int]) -> None:
    """Raise a target to interpolated values, slab by slab, where they are not 0."""
    matrices, places = [], []
    for axis, order in enumerate(orders):
        inside = np.flatnonzero(values.any(axis=tuple(k for k in range(3) if k != axis)))
        box = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0)
        matrix = operator(values.shape[axis], target.shape[axis], order)[:, box]
        reached = np.flatnonzero(matrix.any(axis=1))
        if not len(reached):
            return
        places.append(slice(int(reached[0]), int(reached[-1]) + 1))
        matrices.append(np.ascontiguousarray(matrix[places[-1]]))
        values = values[(slice(None),) * axis + (box,)]
    along_z, along_y, along_x = matrices
    target = target[tuple(places)]
    thick = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for first in range(0, len(target), thick):
        weights = along_z[first : first + thick]
        used = np.flatnonzero(weights.any(axis=0))
        near = slice(int(used[0]), int(used[-1]) + 1)
        planes = apply_along(
            np.ascontiguousarray(weights[:, near]), values[near].astype(np.float32), 0
        )
        planes = apply_along(along_x, apply_along(along_y, planes, 1), 2)
        slab = target[first : first + thick]
        np.maximum(slab, np.rint(planes).clip(0, _CERTAIN).astype(np.uint8), out=slab)
