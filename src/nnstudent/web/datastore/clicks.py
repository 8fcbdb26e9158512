"""Segmenting an organ again around a click, from what the page sends of the scan around it.

The page has the scan, so it sends the box around the click, and the service reads the probabilities
of one organ at most: an answer takes a fraction of a second whether the scan is small or large.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from nnstudent.errors import InputError
from nnstudent.inference.labels.stored_probabilities import StoredProbabilities
from nnstudent.labels.click import REACH_MM, UNSEEN, Click, correct_by_click
from nnstudent.types import LabelArray
from nnstudent.volume import Box, Grid, Volume
from nnstudent.words import count

log = logging.getLogger(__name__)

MOST_VOXELS = 2_000_000  # a box of 50 mm at 0.4 mm; the page sends less of a finer scan
_BYTES = 3  # of a voxel: two of its density, one of the mask
MOST_BYTES = _BYTES * MOST_VOXELS
_ID = 1
_SPACING = 0.01  # of a voxel's length that the page may round

Size = Annotated[int, Field(ge=1, le=1000)]
Place = Annotated[int, Field(ge=0, lt=1000)]
First = Annotated[int, Field(ge=0, lt=1 << 16)]
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
        job: Id of the job whose result is corrected; empty if its probabilities are not asked for.
        organ: Id of the organ in the label table.
        start: The box's first voxel in the scan in canonical axes, (z, y, x).
    """

    shape: tuple[Size, Size, Size]
    spacing_mm: tuple[Millimeters, Millimeters, Millimeters]
    voxel: tuple[Place, Place, Place]
    add: bool
    reach_mm: Annotated[float, Field(ge=1, le=100)] = REACH_MM
    elsewhere: bool = True
    job: Annotated[str, Field(max_length=64)] = ""
    organ: Annotated[int, Field(ge=0, le=254)] = 0
    start: tuple[First, First, First] = (0, 0, 0)

    @property
    def box(self) -> Box:
        """Where the box lies in the scan in canonical axes."""
        z, y, x = (
            slice(first, first + size) for first, size in zip(self.start, self.shape, strict=True)
        )
        return z, y, x

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


@dataclass(frozen=True)
class Answer:
    """What became of a click.

    Attributes:
        mask: What is the organ's now, 1 in the order that was sent, and 0 elsewhere.
        by: What decided: the network's probabilities too, or the image alone.
    """

    mask: bytes
    by: Literal["scores", "image"]


def segment_box(
    click: BoxIn, body: bytes, *, scores: Path | None = None, organ: str = ""
) -> Answer:
    """Segment an organ again around a click.

    Args:
        click: The click and its box.
        body: The densities in HU as int16, little-endian, then whose each voxel is as uint8: 1 is
            the organ's, 0 nobody's, and any other value that of another organ; both in the order
            (z, y, x), x fastest.
        scores: File of the scan's probabilities; the image alone decides if there is none.
        organ: The organ's name.

    Raises:
        InputError: The body does not fit the box, the box does not fit the scan, or the click is
            outside of it, or removes where the organ is not.
    """
    if len(body) != click.size:
        raise InputError(f"a box of {len(body)} bytes; its shape takes {click.size}")
    voxels = click.size // _BYTES
    grid = Grid(click.shape, np.diag([*reversed(click.spacing_mm), 1.0]))
    image = np.frombuffer(body, "<i2", count=voxels).reshape(click.shape)
    labels = np.frombuffer(body, np.uint8, offset=2 * voxels).reshape(click.shape)
    stored = None if scores is None else _stored(scores, click, organ)
    corrected = correct_by_click(
        Volume(image.astype(np.int16), grid),
        Volume(labels.copy(), grid),
        Click(click.voxel, add=click.add),
        id=_ID,
        reach_mm=click.reach_mm,
        elsewhere=click.elsewhere,
        probability=None if stored is None else Volume(stored, grid),
    )
    own: LabelArray = (corrected.array == _ID).astype(np.uint8)
    by_image = stored is None or UNSEEN in corrected.warnings
    return Answer(own.tobytes(), "image" if by_image else "scores")


def _stored(path: Path, click: BoxIn, organ: str) -> LabelArray | None:
    """The probabilities of an organ in a box; None if they are not known."""
    if not path.is_file():
        return None
    try:
        stored = StoredProbabilities(path)
    except InputError as error:  # a result of an older version, or damaged
        log.warning("the probabilities of a job cannot be used: %s", type(error).__name__)
        return None
    grid = stored.grid
    fits = all(part.stop <= size for part, size in zip(click.box, grid.shape, strict=True))
    if not fits or not np.allclose(grid.spacing_mm, click.spacing_mm, rtol=_SPACING):
        raise InputError(
            f"a box of {'×'.join(map(str, click.shape))} voxels from {click.start} on, "
            f"{click.spacing_mm} mm apart; expected one inside the scan of {grid}"
        )
    return stored.around(organ, click.box)
