"""Segmenting an organ again around a click, from what the page sends of the scan around it.

The page has the scan, so it sends the box around the click, and the service reads no file: an
answer takes the same fraction of a second whether the scan is small or large.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from nnstudent.errors import InputError
from nnstudent.labels.click import REACH_MM, Click, correct_by_click
from nnstudent.types import LabelArray
from nnstudent.volume import Grid, Volume
from nnstudent.words import count

MOST_VOXELS = 2_000_000  # a box of 50 mm at 0.4 mm; the page sends less of a finer scan
_BYTES = 3  # of a voxel: two of its density, one of the mask
MOST_BYTES = _BYTES * MOST_VOXELS
_ID = 1

Size = Annotated[int, Field(ge=1, le=1000)]
Place = Annotated[int, Field(ge=0, lt=1000)]
Millimeters = Annotated[float, Field(ge=0.01, le=100)]


class BoxIn(BaseModel):
    """A box around a click, as it is sent.

    Attributes:
        shape: Voxels of the box, (z, y, x).
        spacing_mm: Their distance, (z, y, x).
        voxel: Where somebody clicked, from the box's first voxel, (z, y, x).
        add: Whether that belongs to the organ.
        reach_mm: How far from it labels may change; the box reaches a little farther.
        elsewhere: Whether the organ also lies outside the box.
    """

    shape: tuple[Size, Size, Size]
    spacing_mm: tuple[Millimeters, Millimeters, Millimeters]
    voxel: tuple[Place, Place, Place]
    add: bool
    reach_mm: Annotated[float, Field(ge=1, le=100)] = REACH_MM
    elsewhere: bool = True

    @property
    def size(self) -> int:
        """Bytes of the box.

        Raises:
            InputError: The box is too large.
        """
        z, y, x = self.shape
        if z * y * x > MOST_VOXELS:
            raise InputError(
                f"a box of {count(z * y * x, 'voxel')} around the click; expected at most "
                f"{MOST_VOXELS}"
            )
        return _BYTES * z * y * x


def segment_box(click: BoxIn, body: bytes) -> bytes:
    """Segment an organ again around a click.

    Args:
        click: The click and its box.
        body: The densities in HU as int16, little-endian, then whose each voxel is as uint8: 1 is
            the organ's, 0 nobody's, and any other value that of another organ; both in the order
            (z, y, x), x fastest.

    Returns:
        What is the organ's now, 1 in the order that was sent, and 0 elsewhere.

    Raises:
        InputError: The body does not fit the box, or the click is outside of it, or removes where
            the organ is not.
    """
    if len(body) != click.size:
        raise InputError(f"a box of {len(body)} bytes; its shape takes {click.size}")
    voxels = click.size // _BYTES
    grid = Grid(click.shape, np.diag([*reversed(click.spacing_mm), 1.0]))
    image = np.frombuffer(body, "<i2", count=voxels).reshape(click.shape)
    labels = np.frombuffer(body, np.uint8, offset=2 * voxels).reshape(click.shape)
    corrected = correct_by_click(
        Volume(image.astype(np.int16), grid),
        Volume(labels.copy(), grid),
        Click(click.voxel, add=click.add),
        id=_ID,
        reach_mm=click.reach_mm,
        elsewhere=click.elsewhere,
    )
    own: LabelArray = (corrected.array == _ID).astype(np.uint8)
    return own.tobytes()
