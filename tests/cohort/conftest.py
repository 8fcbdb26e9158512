"""Small CTs on disk with the labels that a test asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nnstudent.io.nifti import write_image, write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume

SHAPE = (8, 10, 12)
GRID = Grid(SHAPE, np.diag([-0.8, -0.8, 2.5, 1.0]))
ORGANS = flare23().organs


class Files:
    """Writes cases; each label map holds one row of voxels of each class that it is to have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._chance = np.random.default_rng(5)

    def ct(self, name: str, *, grid: Grid = GRID) -> Path:
        array = self._chance.integers(-1000, 400, grid.shape).astype(np.int16)
        path = self.folder / name
        write_image(path, Volume(array, grid))
        return path

    def label(self, name: str, ids: Iterable[int], *, grid: Grid = GRID) -> Path:
        array = np.zeros(grid.shape, np.uint8)
        for place, id in enumerate(ids):
            array[place // grid.shape[1] % grid.shape[0], place % grid.shape[1]] = id
        path = self.folder / name
        write_labels(path, Volume(array, grid))
        return path

    def text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "source")
