"""The probabilities of one image in one file, of which a box of one class is read at a time.

The file is a zip archive: ``index.json`` has the grids, and ``NETWORK/CHANNEL`` the probabilities
of a class on the network's own grid, (z, y, x), uint8. It is for whoever wrote it, and no format
to exchange.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnstudent.data_files import parse_json
from nnstudent.errors import InputError
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.io.atomic import replacing, unwritable
from nnstudent.types import LabelArray
from nnstudent.volume import Box, Grid

_FORMAT = 1
_INDEX = "index.json"
_FAST = 1  # of zlib: probabilities are 0 nearly everywhere, so more gains little
_MOST_INDEX = 1 << 20
_ALMOST = 1e-6  # voxels


def store_probabilities(path: Path, maps: ProbabilityMaps) -> None:
    """Write probabilities; one class at a time is in memory.

    Args:
        path: The file.
        maps: The probabilities.

    Raises:
        OutputError: The file cannot be written.
    """
    networks = []
    try:
        with (
            replacing(path) as place,
            zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive,
        ):
            for number, network in enumerate(maps.networks):
                described: dict[str, Any] = {}
                for channel in range(1, len(network.classes)):
                    volume = network.volume(channel)
                    described = described or _described(volume.grid)
                    archive.writestr(f"{number}/{channel}", volume.array.tobytes())
                networks.append({"classes": network.classes, **described})
            index = {"format": _FORMAT, "image": _described(maps.grid), "networks": networks}
            archive.writestr(_INDEX, json.dumps(index))
    except OSError as error:
        raise unwritable(path, error) from error


class StoredProbabilities:
    """A file of :func:`store_probabilities`.

    Attributes:
        grid: The image's grid in canonical axes.
    """

    def __init__(self, path: Path) -> None:
        """Read what the file holds.

        Raises:
            InputError: It is not such a file.
        """
        self._path = path
        text = self._member(_INDEX, most=_MOST_INDEX).decode("utf-8", "replace")
        try:
            index = parse_json(text, where=f"{path}: {_INDEX}", what="an index")
            if index["format"] != _FORMAT:
                raise InputError(f"{path}: of another version; segment the scan again")
            image = _grid(index["image"])
            self._networks = [(item["classes"], _grid(item)) for item in index["networks"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a file of probabilities ({error})") from error
        self.grid = image.reoriented()

    def around(self, name: str, box: Box) -> LabelArray | None:
        """Interpolate the probability of a class linearly in a box of the image.

        Where a later network looked, it decides; where none looked, it is 0.

        Args:
            name: The class.
            box: The box, (z, y, x) of the image in canonical axes.

        Returns:
            Probabilities from 0 to 255 for certain, uint8; None if no network that knows the class
            looked there.

        Raises:
            InputError: The file is damaged.
        """
        grid = self.grid.cropped(box)
        found: LabelArray | None = None
        for number, (classes, own) in enumerate(self._networks):
            if name not in classes[1:]:
                continue
            to_own = (np.linalg.inv(own.affine) @ grid.affine)[2::-1]  # rows of z, y, x
            matrix, first = to_own[:, 2::-1], to_own[:, 3]
            seen = _inside(matrix, first, grid, own)
            if not seen.any():
                continue
            member = f"{number}/{classes.index(name)}"
            data = self._member(member, most=math.prod(own.shape))
            if len(data) != math.prod(own.shape):
                raise InputError(f"{self._path}: {member} is damaged; segment the scan again")
            values = ndimage.affine_transform(
                np.frombuffer(data, np.uint8).reshape(own.shape),
                matrix,
                first,
                output_shape=grid.shape,
                output=np.float32,
                order=1,
                mode="nearest",
            )
            found = np.zeros(grid.shape, np.uint8) if found is None else found
            found[seen] = np.rint(values[seen]).astype(np.uint8)
        return found

    def _member(self, name: str, *, most: int) -> bytes:
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(name) as stream:
                return stream.read(most + 1)
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise InputError(f"{self._path}: {name} cannot be read ({error})") from error


def _inside(
    matrix: np.typing.NDArray[np.float64],
    first: np.typing.NDArray[np.float64],
    grid: Grid,
    own: Grid,
) -> np.typing.NDArray[np.bool_]:
    """The voxels of a grid that lie in another with the same axes but for order and direction."""
    inside = np.ones(grid.shape, np.bool_)
    for row, start, size in zip(matrix, first, own.shape, strict=True):
        axis = int(np.abs(row).argmax())
        at = start + row[axis] * np.arange(grid.shape[axis])
        within = (at > -0.5 - _ALMOST) & (at < size - 0.5 + _ALMOST)
        inside &= within.reshape([-1 if k == axis else 1 for k in range(3)])
    return inside


def _described(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid(described: dict[str, Any]) -> Grid:
    z, y, x = (int(size) for size in described["shape"])
    return Grid((z, y, x), np.array(described["affine"], np.float64))
