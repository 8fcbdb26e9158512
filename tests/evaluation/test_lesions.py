from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnstudent.cli import main
from nnstudent.errors import GeometryError, InputError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.lesions import Detection, Lesion, detect, summarize
from tests.evaluation.scenes import GRID, organs, save
from tests.reports import read_report

masks = arrays(bool, (5, 6, 7), elements=st.booleans())


def ball(*places: tuple[slice, slice, slice]) -> np.ndarray:
    mask = np.zeros((12, 20, 20), bool)
    for place in places:
        mask[place] = True
    return mask


def box(z: int, y: int, x: int, size: int = 4) -> tuple[slice, slice, slice]:
    return slice(z, z + size), slice(y, y + size), slice(x, x + size)


def test_found_missed_and_false_are_counted():
    truth = ball(box(0, 0, 0), box(0, 10, 10), box(6, 0, 12))
    prediction = ball(box(0, 0, 1), box(7, 12, 2))
    found = detect(prediction, truth, voxel_ml=0.1)
    assert [lesion.found for lesion in found.lesions] == [True, False, False]
    assert found.lesions[0] == Lesion(pytest.approx(6.4), pytest.approx(48 / 80))
    assert found.false_ml == (pytest.approx(6.4),)


@pytest.mark.parametrize(("common", "is_found"), [(1, False), (2, True)])
def test_the_threshold_is_an_iou_of_a_tenth(common, is_found):
    """2 of 20 voxels in common is 0.1 exactly, which counts; 1 of 20 does not."""
    truth, prediction = np.zeros((2, 1, 1, 24), bool)
    truth[..., :11] = True
    prediction[..., 11 - common : 20] = True
    assert detect(prediction, truth, voxel_ml=1.0).lesions[0].found is is_found


def test_one_blob_over_two_lesions_finds_one_of_them():
    truth = ball(box(0, 0, 0), box(0, 0, 6))
    prediction = ball((slice(0, 4), slice(0, 4), slice(0, 10)))
    found = detect(prediction, truth, voxel_ml=1.0)
    assert sum(lesion.found for lesion in found.lesions) == 1
    assert found.false_ml == ()


def test_corners_connect():
    truth = ball(box(0, 0, 0, 2), box(2, 2, 2, 2))
    assert len(detect(None, truth, voxel_ml=1.0).lesions) == 1


def test_components_below_the_minimum_count_neither_way():
    truth, prediction = ball(box(0, 0, 0, 1), box(4, 4, 4)), ball(box(4, 4, 4), box(0, 12, 12, 1))
    found = detect(prediction, truth, voxel_ml=0.01, minimum_ml=0.05)
    assert (len(found.lesions), found.lesions[0].iou, found.false_ml, found.below_minimum) == (
        1,
        1.0,
        (),
        2,
    )
    assert len(detect(prediction, truth, voxel_ml=0.01).lesions) == 2


@given(masks, masks)
def test_the_counts_add_up_and_swapping_sides_swaps_missed_and_false(one, other):
    there, back = detect(one, other, voxel_ml=0.5), detect(other, one, voxel_ml=0.5)
    found = sum(lesion.found for lesion in there.lesions)
    assert found == sum(lesion.found for lesion in back.lesions)
    assert len(there.false_ml) == len(back.lesions) - found
    assert len(back.false_ml) == len(there.lesions) - found
    assert sum(lesion.volume_ml for lesion in there.lesions) == pytest.approx(0.5 * other.sum())


@settings(max_examples=30, deadline=None)
@given(masks)
def test_the_truth_itself_finds_all_and_nothing_finds_none(truth):
    own = detect(truth, truth, voxel_ml=1.0)
    assert all(lesion.iou == 1.0 for lesion in own.lesions)
    assert own.false_ml == ()
    none = detect(np.zeros_like(truth), truth, voxel_ml=1.0)
    assert none == detect(None, truth, voxel_ml=1.0)
    assert not any(lesion.found for lesion in none.lesions)


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.floats(0, 200), st.booleans())), st.lists(st.floats(0, 200))
        ),
        max_size=6,
    )
)
def test_every_lesion_is_in_one_bin(cases):
    summary = summarize(
        Detection(tuple(Lesion(ml, float(hit)) for ml, hit in true), tuple(false))
        for true, false in cases
    )
    for field in ("lesions", "found", "false_positives"):
        assert sum(getattr(item, field) for item in summary.bins) == getattr(summary, field)
    assert summary.scans == len(cases)
    assert math.isnan(summary.sensitivity) or 0 <= summary.sensitivity <= 1


def test_bins_must_ascend():
    with pytest.raises(InputError, match="ascending"):
        summarize([], edges_ml=(4.0, 1.0))


def test_masks_must_fit():
    with pytest.raises(GeometryError, match="same"):
        detect(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), voxel_ml=1.0)


def test_evaluate_counts_and_reports_lesions(tmp_path, capsys):
    """Of two scans, one has a found and a false lesion, the other has no prediction."""
    invented = organs(tumor=True)
    invented[10:13, 20:24, 20:24] = 14
    save(tmp_path / "pred" / "a.nii.gz", invented)
    for id in ("a", "b"):
        save(tmp_path / "truth" / f"{id}.nii.gz", organs(tumor=True))
    out = tmp_path / "r.json"
    assert (
        main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "truth"), "--report", str(out)])
        == 0
    )
    report = read_report(out, "evaluate")
    found = report["lesions"]["tumor"]
    assert (found["lesions"], found["found"], found["false_positives"], found["scans"]) == (
        2,
        1,
        1,
        2,
    )
    assert (found["sensitivity"], found["false_positives_per_scan"], found["precision"]) == (
        0.5,
        0.5,
        0.5,
    )
    assert GRID.voxel_ml == pytest.approx(0.02)
    assert report["cases"][0]["lesions"]["tumor"]["lesions"] == [
        {"volume_ml": pytest.approx(8 * 0.02), "found": True, "iou": 1.0}
    ]
    assert report["cases"][0]["lesions"]["tumor"]["false_positives_ml"] == [
        pytest.approx(48 * 0.02)
    ]
    assert [item["lesions"] for item in found["bins"]] == [2, 0, 0, 0, 0]
    assert [item["false_positives"] for item in found["bins"]] == [0, 1, 0, 0, 0]
    printed = capsys.readouterr().out
    assert "tumor by lesion, 2 scans" in printed
    assert "0.5000" in printed


def test_classes_that_nobody_looked_for_have_no_lesions(tmp_path):
    save(tmp_path / "a.nii.gz", organs(tumor=True))
    assert (
        evaluate(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", classes=["liver"]).to_dict()[
            "lesions"
        ]
        == {}
    )
