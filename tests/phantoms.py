"""Phantoms that several tests look at, drawn once by each worker; for reading only."""

from __future__ import annotations

from functools import cache

from nnstudent.phantom import PhantomCase, make_case


@cache
def tiny_phantom(seed: int, *, tumor: bool | None = None) -> PhantomCase:
    """A whole abdomen of 96 × 96 voxels a slice, which takes over a second to draw."""
    case = make_case(seed, preset="tiny", tumor=tumor)
    for volume in (case.image, case.truth, case.organs):
        volume.array.flags.writeable = False
    return case
