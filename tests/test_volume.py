from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nnstudent.errors import GeometryError
from nnstudent.volume import Grid, Volume

AXCODES = [
    "".join(codes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]
sizes = st.tuples(*[st.integers(2, 9)] * 3)
axcodes = st.sampled_from(AXCODES)


@st.composite
def grids(draw):
    """Grids of any spacing, place, and rotation."""
    spacing = np.array(draw(st.tuples(*[st.floats(0.3, 6.0)] * 3)))
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    length = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / length if length > 1e-3 else (1, 0, 0, 0)
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array(turn) * spacing * (draw(st.sampled_from((1, -1))), 1, 1)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return Grid(draw(sizes), affine)


def leans_two_ways(grid: Grid) -> bool:
    """Whether an axis lies exactly between two directions, so that rounding decides its name."""
    part = np.abs(grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0))
    largest, second = np.sort(np.stack([part, part.T]), axis=1)[:, :0:-1].swapaxes(
        0, 1
    )  # of each column and row
    return bool((largest - second).min() < 1e-6)


def numbered(grid: Grid) -> Volume:
    return Volume(np.arange(np.prod(grid.shape)).reshape(grid.shape), grid)


def places(volume: Volume) -> dict[int, tuple[float, ...]]:
    """Where each value lies in the world, in mm."""
    z, y, x = np.indices(volume.array.shape).reshape(3, -1)
    world = (volume.grid.affine @ np.stack([x, y, z, np.ones_like(x)]))[:3].T
    return dict(zip(volume.array.ravel().tolist(), map(tuple, world), strict=True))


@given(grid=grids(), codes=axcodes)
def test_turning_moves_no_voxel_and_turning_back_gives_the_same(grid, codes):
    volume = numbered(grid)
    turned = volume.reoriented(codes)
    there, here = places(turned), places(volume)
    assert all(np.allclose(there[value], here[value], atol=1e-6) for value in here)
    assume(not leans_two_ways(grid))
    back = turned.reoriented(grid.axcodes)
    assert back.grid.matches(grid)
    assert np.array_equal(back.array, volume.array)
    assert turned.grid.voxel_ml == pytest.approx(grid.voxel_ml)


@pytest.mark.parametrize("codes", AXCODES)
def test_axis_codes_match_the_axes(codes):
    assert (
        numbered(Grid((2, 3, 4), np.diag([0.7, 0.8, 3.0, 1]))).reoriented(codes).grid.axcodes
        == codes
    )


@given(grid=grids(), shape=sizes)
def test_resampled_grid_fills_the_same_box(grid, shape):
    other = grid.resampled(shape)
    assert other.shape == shape

    def faces(g: Grid) -> np.ndarray:
        ends = [(-0.5, n - 0.5) for n in g.shape[::-1]]
        corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
        return (g.affine @ corners.T)[:3]

    assert np.allclose(faces(other), faces(grid), atol=1e-6)
    extent = np.array(grid.spacing_mm) * grid.shape
    assert np.allclose(np.array(other.spacing_mm) * shape, extent)
    assert grid.resampled(grid.shape).matches(grid)


@given(grid=grids(), shift=st.floats(-1, 1))
def test_matches_measures_in_mm(grid, shift):
    affine = grid.affine.copy()
    affine[0, 3] += shift
    other = Grid(grid.shape, affine)
    assert grid.matches(other, tolerance_mm=abs(shift) + 1e-6)
    tenth = min(grid.spacing_mm) / 10
    assume(abs(abs(shift) - tenth) > 1e-6)
    assert grid.matches(other) == other.matches(grid) == (abs(shift) < tenth)


def test_rounded_headers_give_the_same_grid():
    """Sizes as scanners have them, a spacing of three decimals."""
    grid = Grid((200, 512, 512), np.diag([0.7031, 0.7031, 2.5, 1]))
    assert grid.matches(Grid(grid.shape, np.diag([0.703, 0.703, 2.5, 1])))
    assert not grid.matches(Grid(grid.shape, np.diag([0.70, 0.70, 2.5, 1])))


@pytest.mark.parametrize(
    ("shape", "affine", "said"),
    [
        (
            (4, 5, 7),
            np.diag([0.8, 0.9, 2.5, 1]),
            "7×5×4 at 0.80×0.90×2.50 mm, RAS, not 6×5×4 at 0.80×0.90×2.50 mm, RAS",
        ),
        (
            (4, 5, 6),
            np.diag([0.8, 0.9, 3.0, 1]),
            "spacing 0.8×0.9×3 mm, not 0.8×0.9×2.5 mm; voxels are up to 1.5 mm or 1.9 voxels apart",
        ),
        (
            (4, 5, 6),
            np.array([[0.8, 0, 0, 4], [0, 0.9, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]]),
            "shifted by 4 mm or 5 voxels",
        ),
        (
            (4, 5, 6),
            np.diag([-0.8, 0.9, 2.5, 1]),
            "stored as LAS, not RAS; voxels of one index are up to 8 mm or 10 voxels apart",
        ),
        (
            (4, 5, 6),
            np.array([[0.8, 0, 0.2, 0], [0, 0.9, 0, 0], [0, 0, 2.492, 0], [0, 0, 0, 1]]),
            "turned; voxels are up to 0.6 mm",
        ),
    ],
)
def test_grids_that_differ_are_refused_with_the_distance(shape, affine, said):
    grid = Grid((4, 5, 6), np.diag([0.8, 0.9, 2.5, 1]))
    grid.require(grid, what="the label", advice="never said")
    with pytest.raises(GeometryError) as caught:
        grid.require(Grid(shape, affine), what="the label", of="the truth", advice="resample it")
    text = str(caught.value)
    assert text.startswith("the label is on another grid than the truth (")
    assert text.endswith("); resample it")
    assert said in text


def test_a_flipped_grid_does_not_match_although_its_corners_are_the_same():
    grid = Grid((5, 6, 7), np.diag([1.0, 1, 1, 1]))
    assert not numbered(grid).reoriented("LPS").grid.matches(grid)
    assert not Grid((5, 6, 7), np.eye(4)).matches(Grid((5, 7, 6), np.eye(4)))


def test_spacing_is_z_y_x():
    grid = Grid((4, 5, 6), np.diag([0.8, 0.9, 2.5, 1]))
    assert grid.spacing_mm == (2.5, 0.9, 0.8)
    assert grid.voxel_ml == pytest.approx(0.0018)
    assert str(grid) == "6×5×4 at 0.80×0.90×2.50 mm, RAS"


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.eye(3),
        np.diag([1, 1, np.nan, 1]),
        np.diag([1, 1, np.inf, 1]),
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    ],
)
def test_unusable_affines(affine):
    with pytest.raises(GeometryError):
        Grid((2, 2, 2), np.array(affine))


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 2), (2, 2, 2, 2), (-1, 2, 2)])
def test_unusable_shapes(shape):
    with pytest.raises(GeometryError):
        Grid(shape, np.eye(4))


def test_array_and_grid_must_agree():
    with pytest.raises(GeometryError, match="must agree"):
        Volume(np.zeros((2, 3, 4)), Grid((4, 3, 2), np.eye(4)))


def test_grid_keeps_its_own_affine():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 0] = 7
    assert grid.spacing_mm == (1, 1, 1)
