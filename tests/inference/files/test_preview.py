from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnstudent.errors import OutputError
from nnstudent.inference.files.preview import write_preview
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume


def test_a_png_is_written_or_refused(tmp_path):
    grid = Grid((10, 20, 30), np.diag([2.0, 3.0, 5.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[3:6, 4:9, 8:20] = 1
    image = Volume(np.full(grid.shape, 40, np.int16), grid)
    write_preview(tmp_path / "p.png", image, Volume(labels, grid), flare23(), title="case")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_preview(tmp_path / "file" / "p.png", image, Volume(labels, grid), flare23())
