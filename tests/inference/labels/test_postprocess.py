from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.inference.labels.postprocess import DEFAULT, RULES, postprocess
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from nnstudent.volume import Grid, Volume
from tests.inference.oracle import ellipsoid
from tests.phantoms import tiny_phantom

TABLE = flare23()
CODES = [
    "".join(c)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for c in itertools.product(*axes)
]
RIGHT, LEFT = TABLE["right_kidney"].id, TABLE["left_kidney"].id
SHAPE = (30, 50, 80)


def scene(
    *, spacing: float = 4.0, shift: int = 0, **organs: tuple[tuple[int, int, int], int]
) -> Volume:
    """Balls in RAS, by class name with center (z, y, x) and radius in voxels.

    The aorta and the vena cava lie beside the middle.
    """
    labels = np.zeros(SHAPE, np.uint8)
    placed = {"aorta": ((15, 25, 37), 2), "inferior_vena_cava": ((15, 25, 43), 2)} | organs
    for name, (center, radius) in placed.items():
        z, y, x = center
        labels[ellipsoid(SHAPE, (z, y, x + shift), (radius,) * 3)] = TABLE[
            name.partition("__")[0]
        ].id
    return Volume(labels, Grid(SHAPE, np.diag([spacing, spacing, spacing, 1.0])))


def ids(volume: Volume) -> set[int]:
    return set(np.unique(volume.array).tolist()) - {0}


KIDNEYS = {"right_kidney": ((15, 25, 60), 7), "left_kidney": ((15, 25, 20), 7)}


def test_without_rules_nothing_changes():
    labels = scene(**KIDNEYS)
    assert postprocess(labels, TABLE, rules=()) is labels


@pytest.mark.parametrize("rules", [("largest", "nonsense"), ("none",)])
def test_what_is_no_rule_is_one_line(rules):
    with pytest.raises(InputError, match="expected none, or some of sides,largest,small,tumor"):
        postprocess(scene(), TABLE, rules=rules)


def test_a_table_without_the_facts_keeps_everything():
    table = Taxonomy("mine", tuple(LabelClass(item.id, item.name, item.kind) for item in TABLE))
    labels = Volume(np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.uint8), scene().grid)
    assert postprocess(labels, table, rules=tuple(RULES)) is labels


def test_the_largest_piece_of_an_organ_stays_and_what_is_none_is_untouched():
    labels = scene(
        **KIDNEYS,
        right_kidney__far=((15, 40, 5), 4),
        pancreas=((15, 40, 30), 2),
        pancreas__too=((15, 45, 60), 2),
    )
    result = postprocess(labels, TABLE, rules=("largest",))
    np.testing.assert_array_equal(
        result.array, np.where((np.arange(80) < 10) & (labels.array == RIGHT), 0, labels.array)
    )
    assert labels.array[15, 40, 5] == RIGHT, "what was given is not changed"


def test_another_body_in_the_image_keeps_its_organs():
    case = tiny_phantom(2).truth
    second = case.array.copy()
    for item in TABLE:  # a voxel less than the first has
        second.reshape(-1)[np.flatnonzero(second == item.id)[:1]] = 0
    both = np.concatenate([case.array, np.zeros((4, *case.array.shape[1:]), np.uint8), second])
    result = postprocess(
        Volume(both, Grid(both.shape, case.grid.affine)), TABLE, rules=("largest",)
    )
    before, after = (np.bincount(array.ravel(), minlength=15)[1:] for array in (both, result.array))
    assert (after >= 0.98 * before).all()
    assert (result.array == TABLE["liver"].id).sum() == (both == TABLE["liver"].id).sum()


def test_a_lesion_does_not_part_an_organ():
    labels = scene(liver=((15, 25, 60), 9))
    labels.array[:, :, 58:60] = np.where(labels.array[:, :, 58:60] == 1, 14, 0)
    assert postprocess(labels, TABLE, rules=("largest",)) is labels


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("shift", [-15, 0, 15])
def test_a_piece_on_the_other_side_is_of_the_other_organ(codes, shift):
    labels = scene(shift=shift, **KIDNEYS)
    swapped = labels.array.copy()
    swapped[10:18][labels.array[10:18] == RIGHT] = LEFT
    result = postprocess(Volume(swapped, labels.grid).reoriented(codes), TABLE, rules=("sides",))
    assert result.grid.axcodes == codes
    np.testing.assert_array_equal(result.reoriented("RAS").array, labels.array)


def test_without_an_organ_that_tells_the_middle_no_side_is_known():
    labels = scene(**KIDNEYS)
    labels.array[
        (labels.array == TABLE["aorta"].id) | (labels.array == TABLE["inferior_vena_cava"].id)
    ] = 0
    mirrored = Volume(labels.array[:, :, ::-1].copy(), labels.grid)
    assert postprocess(mirrored, TABLE, rules=("sides",)) is mirrored


def test_specks_are_removed_but_not_what_the_border_cuts():
    labels = scene(
        liver=((15, 25, 60), 4),
        spleen=((15, 25, 20), 1),
        tumor=((15, 25, 60), 1),
        stomach=((1, 25, 20), 1),
    )
    assert ids(labels) == {1, 3, 5, 6, 11, 14}
    labels.array[20, 25, 60], labels.array[0, 25, 20] = 14, 11
    result = postprocess(labels, TABLE, rules=("small",))
    # The liver (16 of 300 ml) and spleen (0.4 of 20 ml) are specks, the vessels (2 of 10 ml) and
    # the single voxel of tumor (0.064 of 0.05 ml) are not.
    assert ids(result) == {5, 6, 11, 14}
    fine = Volume(result.array, Grid(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0])))
    assert (postprocess(fine, TABLE, rules=("small",)).array == 14).sum() == (
        labels.array == 14
    ).sum() - 1


@given(
    name=st.sampled_from(["right_adrenal_gland", "left_adrenal_gland"]),
    ml=st.floats(0.06, 1.5),
    spacing=st.sampled_from([(5.0, 0.8, 0.8), (2.5, 0.7, 0.7), (1.0, 1.0, 1.0)]),
)
def test_a_small_adrenal_gland_survives(name, ml, spacing):
    """A whole one has 0.6 ml or more, and a network finds a part of it, which must stay."""
    grid = Grid((12, 40, 40), np.diag([*spacing[::-1], 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    count = int(np.ceil(ml / grid.voxel_ml))
    inside = labels[2:10, 5:35, 5:35]
    places = np.argsort(np.indices(inside.shape).reshape(3, -1).T @ np.array([1000, 60, 1]))[:count]
    inside[np.unravel_index(places, inside.shape)] = TABLE[name].id
    assert (labels > 0).sum() == min(count, inside.size)
    image = Volume(labels, grid)
    assert postprocess(image, TABLE, rules=DEFAULT) is image


@pytest.mark.parametrize(("mm", "stays"), [(48, True), (72, False)])
def test_a_lesion_far_from_any_organ_is_none(mm, stays):
    labels = scene(liver=((15, 25, 65), 7), tumor=((15, 25, 65 - 7 - mm // 4 - 2), 2))
    labels.array[np.isin(labels.array, (5, 6))] = 0
    assert ids(labels) == {1, 14}
    assert ids(postprocess(labels, TABLE, rules=("tumor",))) == ({1, 14} if stays else {1})


def test_a_lesion_where_there_is_no_organ_is_none():
    labels = scene(tumor=((15, 25, 60), 3))
    labels.array[labels.array != 14] = 0
    assert ids(postprocess(labels, TABLE, rules=("tumor",))) == set()
    anywhere = Taxonomy("t", tuple(replace(item, reach_mm=0.0) for item in TABLE))
    assert postprocess(labels, anywhere, rules=("tumor",)) is labels


@settings(max_examples=20)
@given(seed=st.integers(0, 50), codes=st.sampled_from(CODES))
def test_twice_is_once_however_the_scan_lies(seed, codes):
    rng = np.random.default_rng(seed)
    array = np.where(rng.random((8, 9, 10)) < 0.5, rng.integers(0, 15, (8, 9, 10)), 0).astype(
        np.uint8
    )
    labels = Volume(array, Grid(array.shape, np.diag([9.0, 11.0, 13.0, 1.0])))
    once = postprocess(labels, TABLE, rules=("sides", "small", "tumor"))
    turned = postprocess(labels.reoriented(codes), TABLE, rules=("sides", "small", "tumor"))
    np.testing.assert_array_equal(turned.reoriented("RAS").array, once.array)
    labels.array[labels.array == 14] = 0
    whole = postprocess(labels, TABLE, rules=("largest",))
    assert postprocess(whole, TABLE, rules=("largest",)) is whole


@pytest.mark.parametrize("seed", [2, 3])
def test_the_truth_of_a_phantom_keeps_all_but_crumbs(seed):
    truth = tiny_phantom(seed, tumor=True).truth
    result = postprocess(truth, TABLE, rules=DEFAULT)
    for item in TABLE:
        whole = (truth.array == item.id).sum()
        assert (result.array == item.id).sum() >= 0.99 * whole, item.name
    assert postprocess(truth, TABLE, rules=("sides",)) is truth
