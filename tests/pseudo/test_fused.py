"""The fused label maps: truth over pseudo-labels, ignored voxels, nnU-Net's ids."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, read_cohort
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.index import index
from nnstudent.cohort.uncertainty import (
    has_uncertainty,
    probability_path,
    read_probability,
    read_uncertainty,
    remove_uncertainty,
    runner_up_path,
)
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.pseudo.fused import DATASET
from nnstudent.pseudo.pseudo_label import pseudo_label_paths
from nnstudent.pseudo.select import select
from nnstudent.pseudo.selection import SelectSettings
from nnstudent.taxonomy import IGNORE, LabelClass, Taxonomy
from nnstudent.volume import Volume
from tests.pseudo.conftest import ALL, GOOD, Maker


def test_the_fused_maps_are_truth_over_pseudo_on_the_image_grid(
    cohort: Cohort, maker: Maker, tmp_path
):
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out)
    for id in result.kept:
        case = cohort[id]
        written = read_labels(out / DATASET / "labelsTr" / f"{id}.nii.gz")
        assert written.grid.matches(read_grid(case.image))
        truth = None if case.label is None else read_labels(case.label).array
        prediction = maker.pseudo / f"{id}.nii.gz"
        ids = [cohort.taxonomy[name].id for name in case.annotated]
        expected = fuse(
            truth,
            read_labels(prediction).array if prediction.is_file() else None,
            annotated=ids,
            taxonomy=cohort.taxonomy,
        )
        np.testing.assert_array_equal(written.array, expected)
    assert not (out / DATASET / "labelsTr" / "doubtful.nii.gz").exists()


def test_nnunet_finds_every_image_and_label(cohort: Cohort, maker: Maker, tmp_path):
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out)
    table = json.loads((out / DATASET / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "liver": 1, "kidney": 2, "tumor": 3}
    assert table["numTraining"] == len(result.kept) == len(table["dataset"])
    assert table["nnstudent"]["truth"] == ["full"]
    for row in table["dataset"].values():
        assert all(os.path.isabs(image) and os.path.isfile(image) for image in row["images"])
        assert (out / DATASET / row["label"]).is_file()
    fused = read_cohort(out)
    assert {case.id for case in fused} == set(result.kept)
    assert all(case.annotated == frozenset(ALL) for case in fused)
    assert {item.case for item in fused.broken} == {"doubtful", "unlabeled"}


IGNORING = SelectSettings(ignore_below=0.6)


def _is_uncertain(case: Case, fused: int, truth: int, prediction: int, other: int) -> bool:
    """Return whether a voxel has a pseudo-label and the truth allows the runner-up; tumor is 3."""
    names = {1: "liver", 2: "kidney", 3: "tumor"}
    if names.get(fused) in case.annotated or fused != prediction:
        return False
    filled = {id for id, name in names.items() if name not in case.annotated}
    other = other or truth
    return other in ({truth} | (filled & {3}) if truth else {0} | filled)


def test_uncertain_voxels_are_ignored_but_never_what_the_truth_decides(
    cohort: Cohort, maker: Maker, tmp_path
):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    plain, out = tmp_path / "plain", tmp_path / "out"
    select(cohort, maker.pseudo, plain)
    result = select(cohort, maker.pseudo, out, settings=IGNORING)
    assert set(result.ignored) == set(result.kept)
    assert result.ignored["full"] == 0
    fused = read_cohort(out)
    for id in ("organs", "partial", "none"):
        probability = read_probability(maker.pseudo, id).array
        without = read_labels(plain / DATASET / "labelsTr" / f"{id}.nii.gz").array
        nnunet = read_labels(out / DATASET / "labelsTr" / f"{id}.nii.gz").array
        case = cohort[id]
        truth = np.zeros_like(without) if case.label is None else read_labels(case.label).array
        prediction, other = (
            read_labels(path).array
            for path in (pseudo_label_paths(maker.pseudo, id)[0], runner_up_path(maker.pseudo, id))
        )
        open_ = np.vectorize(lambda *voxel, case=case: _is_uncertain(case, *voxel), otypes=[bool])(
            without, truth, prediction, other
        )
        assert 0 < open_.sum() < open_.size or case.label is None
        expected = np.where(open_ & (probability < 153), 4, without)
        np.testing.assert_array_equal(nnunet, expected)
        np.testing.assert_array_equal(
            read_labels(fused[id].label).array, np.where(expected == 4, IGNORE, expected)
        )
        assert result.ignored[id] == pytest.approx((expected == 4).mean(), abs=1e-6)
    assert not (read_labels(fused["full"].label).array == IGNORE).any()


def test_nnunet_is_told_which_label_to_ignore(cohort: Cohort, maker: Maker, tmp_path):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    select(cohort, maker.pseudo, tmp_path / "out", settings=IGNORING)
    table = json.loads((tmp_path / "out" / DATASET / "dataset.json").read_text())
    assert table["labels"] == {"background": 0, "liver": 1, "kidney": 2, "tumor": 3, "ignore": 4}
    assert table["nnstudent"]["classes"] == {"1": "liver", "2": "kidney", "3": "tumor"}
    labels = pytest.importorskip(
        "nnunetv2.utilities.label_handling.label_handling", reason="nnU-Net is not installed"
    )
    manager = labels.LabelManager(table["labels"], None)
    assert (manager.ignore_label, manager.num_segmentation_heads) == (4, 4)
    assert index(tmp_path / "out" / DATASET, tmp_path / "again").cohort.taxonomy.names == (
        "liver",
        "kidney",
        "tumor",
    )


def test_where_nobody_looked_nothing_is_learned(cohort: Cohort, maker: Maker, tmp_path):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD)
    truth = read_labels(cohort["organs"].label)
    seen = truth.array.copy()
    seen[:2] = IGNORE
    write_labels(cohort["organs"].label, Volume(seen, truth.grid))
    out = tmp_path / "out"
    result = select(cohort, maker.pseudo, out)
    fused = read_cohort(out)
    labels = read_labels(fused["organs"].label).array
    assert (labels[:2] == IGNORE).all()
    assert not (labels[2:] == IGNORE).any()
    assert result.ignored["organs"] == pytest.approx(2 / len(seen), abs=1e-6)
    # nnU-Net's values end with the ignore label; the other cases share nnU-Net's label maps.
    assert (read_labels(out / DATASET / "labelsTr" / "organs.nii.gz").array[:2] == 4).all()
    assert json.loads((out / DATASET / "dataset.json").read_text())["labels"]["ignore"] == 4
    assert fused["full"].label == out / DATASET / "labelsTr" / "full.nii.gz"
    assert select(cohort, maker.pseudo, out).written == 0


def test_another_threshold_writes_again_what_it_changes(cohort: Cohort, maker: Maker, tmp_path):
    for id in ("organs", "partial", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    out = tmp_path / "out"
    assert select(cohort, maker.pseudo, out, settings=IGNORING).written == 4
    again = select(cohort, maker.pseudo, out, settings=IGNORING)
    assert again.written == 0
    assert again.ignored["none"] > 0.4
    assert select(cohort, maker.pseudo, out, settings=SelectSettings(ignore_below=0.7)).written == 3
    assert select(cohort, maker.pseudo, out).written == 3
    assert not (read_labels(read_cohort(out)["none"].label).array == IGNORE).any()


def test_without_probabilities_nothing_can_be_ignored(cohort: Cohort, maker: Maker, tmp_path):
    maker.pseudo_label("none", GOOD, uncertainty=True)
    with pytest.raises(
        InputError,
        match=r"2 of 3 pseudo-labels come without .*, organs the first; run label again",
    ):
        select(cohort, maker.pseudo, tmp_path / "out", settings=IGNORING)


def test_ids_with_gaps_become_consecutive_for_nnunet_and_keep_their_meaning(tmp_path):
    table = Taxonomy(
        "gaps",
        (LabelClass(4, "liver"), LabelClass(2, "kidney"), LabelClass(9, "tumor", kind="lesion")),
    )
    maker = Maker(tmp_path, table)
    cohort = maker.cohort(maker.case("full", ALL))
    select(cohort, maker.pseudo, tmp_path / "out")
    truth = read_labels(cohort["full"].label).array
    nnunet = read_labels(tmp_path / "out" / DATASET / "labelsTr" / "full.nii.gz").array
    assert json.loads((tmp_path / "out" / DATASET / "dataset.json").read_text())["labels"] == {
        "background": 0, "kidney": 1, "liver": 2, "tumor": 3,
    }  # fmt: skip
    for id, value in ((2, 1), (4, 2), (9, 3)):
        np.testing.assert_array_equal(truth == id, nnunet == value)
    again = read_cohort(tmp_path / "out")["full"]
    np.testing.assert_array_equal(read_labels(again.label).array, truth)


def test_the_uncertainty_of_the_fused_labels_is_written(
    cohort: Cohort, maker: Maker, tmp_path: Path
):
    out = tmp_path / "out"
    for id in ("organs", "none"):
        maker.pseudo_label(id, GOOD, uncertainty=True)
    select(cohort, maker.pseudo, out)
    kept = [case for case in read_cohort(out) if has_uncertainty(out, case.id)]
    assert {case.id for case in kept} == {"organs", "none"}
    before = {path: path.read_bytes() for path in (out / DATASET / "labelsTr").iterdir()}
    for case in kept:
        labels, truth = read_labels(case.label).array, cohort[case.id].label
        probability, other = (volume.array for volume in read_uncertainty(out, case.id))
        given, _ = (volume.array for volume in read_uncertainty(maker.pseudo, case.id))
        uncertain = probability < 255
        assert uncertain.any()
        np.testing.assert_array_equal(probability[uncertain], given[uncertain])
        assert not other[~uncertain & (given < 255)].any()
        if (
            truth is not None
        ):  # what is drawn is uncertain only against a lesion that nobody looked for
            drawn = read_labels(truth).array > 0
            assert set(other[uncertain & drawn & (labels != 3)]) <= {0, 3} | set(
                labels[uncertain & drawn]
            )
    remove_uncertainty(maker.pseudo, "none")
    select(cohort, maker.pseudo, out)
    assert not probability_path(out, "none").exists()
    assert {
        path: path.read_bytes() for path in (out / DATASET / "labelsTr").iterdir()
    } == before  # no student is trained again for it
