"""Slices become a volume and labels return to them: each voxel keeps its place in the patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nnstudent.errors import GeometryError
from nnstudent.io.dicom.slices import Slice
from nnstudent.io.dicom.stack import AIR_HU, Stack, make_stack
from nnstudent.volume import Grid, Volume

ROWS, COLUMNS = 6, 8
SPACING = (0.75, 0.5)
AXIAL = np.array([1.0, 0, 0, 0, 1, 0])
OBLIQUE = np.array([0, 0.6, 0.8, 1, 0, 0])


def stack_at(positions, orientation=AXIAL) -> Stack:
    """One slice at each position, given along (row direction, column direction, normal), in mm."""
    frame = np.stack([orientation[:3], orientation[3:], np.cross(orientation[:3], orientation[3:])])
    slices = [
        Slice(
            Path(f"{n}.dcm"),
            0,
            np.array(place) @ frame + (5, -7, 90),
            orientation,
            SPACING,
            (ROWS, COLUMNS),
            1,
            0,
        )
        for n, place in enumerate(positions)
    ]
    return make_stack(Path("series"), slices)


def lie_as_with_gaps(gaps) -> bool:
    """Whether slices lie, to a tenth, as those of an even stack from which some are missing."""
    places = np.cumsum(gaps) / np.sum(gaps)
    return any(
        np.abs(places * n - np.rint(places * n)).max() <= 0.1
        for n in range(len(gaps), 2 * len(gaps) + 2)
    )


@given(
    gaps=st.lists(st.floats(1.8, 3.2), min_size=3, max_size=9).filter(
        lambda g: max(g) - min(g) > 0.9 and not lie_as_with_gaps(g)
    )
)
def test_uneven_slices_are_resampled_and_carried_back(gaps):
    heights = np.concatenate([[0], np.cumsum(gaps)])
    stack = stack_at([(0, 0, height) for height in heights])
    assert "slices are unevenly spaced" in stack.warnings[0]
    planes = np.rint(1000 * heights)[:, None, None] + np.zeros(
        (1, ROWS, COLUMNS)
    )  # HU grow by 1000 a mm
    volume = stack.volume(planes.astype(np.int16))
    step = volume.spacing_mm[0]
    assert volume.array.dtype == np.int16
    assert step * (len(volume.array) - 1) == pytest.approx(heights[-1])
    assert volume.array[:, 2, 3] == pytest.approx(1000 * step * np.arange(len(volume.array)), abs=3)
    assert np.abs(stack.on_slices(volume)[:, 2, 3] / 1000 - heights).max() <= step / 2 + 0.01


@example(tilt=1.25, way=0.0, orientation=AXIAL)
@given(
    tilt=st.floats(-30, 30).filter(lambda t: abs(t) > 1),
    way=st.floats(0, 6.28),
    orientation=st.sampled_from((AXIAL, OBLIQUE)),
)
def test_a_tilted_stack_stands_upright_and_leads_back(tilt, way, orientation):
    """Every pixel keeps its place in the patient, within half a pixel, and labels return to it."""
    lean = 2.5 * np.tan(np.radians(tilt))
    stack = stack_at(
        [(lean * k * np.cos(way), lean * k * np.sin(way), 2.5 * k) for k in range(4)], orientation
    )
    # half of a tenth may be rounded either way
    assert any(
        f"tilted by {abs(tilt) + nudge:.1f}°" in stack.warnings[0] for nudge in (-1e-6, 1e-6)
    )
    axes = stack.grid.affine[:3, :3] / np.linalg.norm(stack.grid.affine[:3, :3], axis=0)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    number = np.arange(np.prod(stack.grid.shape), dtype=np.int32).reshape(
        stack.grid.shape
    )  # so that a label tells where it was
    back = stack.on_slices(Volume(number, stack.grid))
    z, y, x = np.unravel_index(back, stack.grid.shape)
    found = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ stack.grid.affine.T
    for k, item in enumerate(stack.slices):
        rows, columns = np.indices(item.size)[..., None] * 1.0
        lps = (
            item.position
            + columns * SPACING[1] * orientation[:3]
            + rows * SPACING[0] * orientation[3:]
        )
        away = (found[k, ..., :3] * (-1, -1, 1) - lps) @ np.stack(
            [orientation[:3], orientation[3:], item.normal]
        ).T
        assert np.abs(away).max(axis=(0, 1)) == pytest.approx(
            (0, 0, 0), abs=0.376
        )  # half of the wider spacing
        assert np.abs(away[..., 2]).max() < 1e-9
    flat = stack.volume(np.full((4, ROWS, COLUMNS), 40, np.int16)).array
    assert flat.min() == AIR_HU
    assert flat.max() == 40
    assert [np.sum(plane == 40) >= (ROWS - 1) * (COLUMNS - 1) for plane in flat] == [True] * 4


@given(
    missing=st.sets(st.integers(1, 8), min_size=1, max_size=3).filter(
        lambda gone: not {1, 2, 3, 4} <= gone
    )
)
def test_missing_slices_are_filled_in_where_gaps_are_narrow(missing):
    kept = [k for k in range(10) if k not in missing]
    stack = stack_at([(0, 0, 2.5 * k) for k in kept])
    assert stack.grid.matches(stack_at([(0, 0, 2.5 * k) for k in range(10)]).grid)
    assert stack.warnings[0].startswith(
        f"{len(missing)} slice{' is' if len(missing) == 1 else 's are'} missing"
    )
    planes = np.array(kept, np.float32)[:, None, None] * np.ones((1, ROWS, COLUMNS), np.float32)
    volume = stack.volume(planes)
    assert volume.array[:, 0, 0] == pytest.approx(np.arange(10), abs=2e-3)
    assert np.array_equal(stack.on_slices(volume), planes)  # what was there is untouched


def test_a_wide_gap_is_refused_for_any_spacing():
    assert stack_at([(0, 0, z) for z in (0, 5, 15, 20)]).warnings
    with pytest.raises(
        GeometryError,
        match=r"missing between 1\.dcm and 2\.dcm \(a gap of 12\.00 mm, usually 6\.00\)",
    ):
        stack_at([(0, 0, z) for z in (0, 6, 18, 24)])
    with pytest.raises(
        GeometryError, match=r"missing between .* \(a gap of 36\.00 mm, usually 24\.00\)"
    ):
        stack_at([(0, 0, z) for z in (0, 24, 48, 84, 108)])
    assert not stack_at([(0, 0, 10 * z) for z in range(4)]).warnings
    (coarse,) = stack_at([(0, 0, 12 * z) for z in range(4)]).warnings  # nothing is missing
    assert coarse.startswith("the slices are 12.0 mm apart")


def test_labels_of_another_grid_are_refused():
    stack = stack_at([(0, 0, 2.5 * k) for k in range(4)])
    with pytest.raises(
        GeometryError,
        match=r"the label map is on another grid than the series .*give the labels of this series",
    ):
        stack.on_slices(
            Volume(np.zeros(stack.grid.shape, np.uint8), Grid(stack.grid.shape, np.eye(4)))
        )
