"""A label map as a client of the protocol sends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.errors import InputError
from nnstudent.io.nifti import read_grid, write_labels
from nnstudent.volume import Grid, Volume
from nnstudent.web.datastore.store import Sent, Store
from nnstudent.web.forms import FormFile
from nnstudent.web.monailabel.inference import sender

_RAW = ".bin"  # OHIF's: the voxels alone, in the order of the scan's


def read_sent(file: FormFile, params: Mapping[str, Any], store: Store, image: str) -> Sent:
    """Return a label map that was sent, as the datastore takes it.

    Args:
        file: The file.
        params: ``label_info`` names the values of the file; ``confirmed``, ``absent`` and
            ``version`` are this service's own.
        store: The datastore.
        image: Id of the scan.

    Raises:
        InputError: ``params`` is malformed, or the file's format is not supported.
        NotFoundError: There is no such scan.
    """
    path, name = file.path, file.name.lower()
    if name.endswith(".seg.nrrd"):
        raise InputError(
            "a segmentation whose segments may overlap; expected a label map, choose .nii.gz as "
            "file extension in the client's settings"
        )
    if name.endswith(_RAW):
        grid = read_grid(store.image_file(store.scans.find(image)))
        path = path.with_name("label.nii.gz")
        write_labels(path, raw_labels(file.path, grid))
    confirmed = _names(params, "confirmed")
    absent = _names(params, "absent")
    version = params.get("version")
    if version is not None and not isinstance(version, int):
        raise InputError("params.version: not a whole number")
    either = None if confirmed is None and absent is None else [*(confirmed or ()), *(absent or ())]
    return Sent(path, sender(dict(params)), _values(params), either, version)


def raw_labels(path: Path, grid: Grid) -> Volume:
    """Read voxels without a header, as uint8 or uint16, in the order of a grid.

    Raises:
        InputError: They are too many or too few, or a value is above 255.
    """
    voxels = int(np.prod(grid.shape))
    size = path.stat().st_size
    kinds = {voxels: "<u1", 2 * voxels: "<u2"}
    if size not in kinds:
        raise InputError(
            f"a label map of {size} bytes; the scan has {voxels} voxels, expected one or two bytes "
            "for each"
        )
    values = np.fromfile(path, kinds[size])
    if values.size and values.max() > 255:
        raise InputError(f"a label map with the value {values.max()}; expected at most 255")
    return Volume(values.astype(np.uint8).reshape(grid.shape), grid)


def _names(params: Mapping[str, Any], key: str) -> list[str] | None:
    names = params.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"params.{key}: expected a list of class names")
    return names


def _values(params: Mapping[str, Any]) -> dict[int, str] | None:
    """Return the class of each value; ``label_info`` has rows of ``name`` and ``idx`` or ``id``."""
    rows = params.get("label_info")
    if not rows:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("params.label_info: expected a list of {name, idx}")
    values: dict[int, str] = {}
    for row in rows:
        value, name = row.get("idx", row.get("id")), row.get("name")
        if not isinstance(value, int) or not isinstance(name, str) or not 0 < value < 256:
            raise InputError("params.label_info: expected a list of {name, idx}, idx 1 to 255")
        values[value] = name
    return values
