from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from nnstudent.cli import main
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.metrics import dsc, nsd
from nnstudent.io.nifti import read_labels
from nnstudent.taxonomy import IGNORE, LabelClass, Taxonomy, flare23
from nnstudent.volume import Grid, Volume
from tests.evaluation.scenes import GRID, SHAPE, organs, save
from tests.io.test_nifti import BROKEN

TABLE = flare23()


def test_scores_are_the_metrics_of_each_class_and_means_of_means(folders):
    scores = evaluate(*folders)
    prediction, truth = (read_labels(folder / "b.nii.gz") for folder in folders)
    case = next(case for case in scores.cases if case.id == "b")
    for item in TABLE:
        masks = prediction.array == item.id, truth.array == item.id
        assert case.scores[item.name].dsc == pytest.approx(dsc(*masks))
        expected = nsd(*masks, spacing_mm=(5.0, 2.0, 2.0), tolerance_mm=item.nsd_mm)
        assert case.scores[item.name].nsd == pytest.approx(expected)
    means = scores.means()
    assert means["liver"].n == 2
    assert means["liver"].dsc == pytest.approx((1 + case.scores["liver"].dsc) / 2)
    assert means["organs"].dsc == pytest.approx(np.mean([means[name].dsc for name in TABLE.organs]))
    own = [np.mean([case.scores[name].dsc for name in TABLE.organs]) for case in scores.cases]
    assert means["organs"].dsc_sd == pytest.approx(np.std(own, ddof=1))
    assert means["tumor"].n == 2


def test_organs_that_the_field_of_view_cuts_are_left_out(tmp_path):
    truth = organs()
    truth[0:3, 20:22, 20:22] = 5  # the aorta reaches the first slice
    truth[truth == 8] = 0
    truth[5, 5, 5] = 8
    table = Taxonomy(
        "small", tuple(LabelClass(item.id, item.name, item.kind, minimum_ml=0.1) for item in TABLE)
    )
    save(tmp_path / "pred" / "a.nii.gz", truth)
    save(tmp_path / "truth" / "a.nii.gz", truth)
    left = evaluate(tmp_path / "pred", tmp_path / "truth", taxonomy=table, whole_organs=True).cases[
        0
    ]
    assert set(left.left_out) == {"aorta", "left_adrenal_gland"}
    assert "first or last slice" in left.left_out["aorta"]
    assert "0.0 ml" in left.left_out["left_adrenal_gland"]
    assert "tumor" in left.scores


def test_slices_run_along_the_patient_whatever_the_axes(tmp_path):
    table = Taxonomy("one", (LabelClass(1, "liver"),))
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:6, 3:6, 0:5] = 1  # touches the border of the array's last axis only
    for affine, touches in (([0, 2, 3, 4], False), ([4, 2, 3, 0], True)):
        turned = (
            np.diag([2.0, 2.0, 5.0, 1.0])
            if affine[0] == 0
            else np.eye(4)[[2, 1, 0, 3]] * [2.0, 2.0, 5.0, 1.0]
        )
        save(tmp_path / "t.nii.gz", labels, grid=Grid(SHAPE, turned))
        case = evaluate(
            tmp_path / "t.nii.gz", tmp_path / "t.nii.gz", taxonomy=table, whole_organs=True
        ).cases[0]
        assert bool(case.left_out) is touches


def test_flare23_ignores_the_position_of_the_grid_and_strict_does_not(folders, tmp_path):
    moved = GRID.affine.copy()
    moved[0, 3] += 40
    save(folders[0] / "a.nii.gz", organs(tumor=True), grid=Grid(SHAPE, moved))
    flare = evaluate(*folders, protocol="flare23")
    assert not flare.failures
    assert (
        "shifted by 40 mm or 20 voxels); flare23 compares voxels as they are stored"
        in flare.cases[0].warnings[0]
    )
    strict = evaluate(*folders)
    assert [failure.case for failure in strict.failures] == ["a"]
    assert "another grid" in strict.failures[0].reason


def test_flare23_scores_a_file_whose_name_hides_that_it_is_compressed(folders):
    before = evaluate(*folders, protocol="flare23").to_dict()["cases"]
    for folder in folders:
        (folder / "b.nii.gz").rename(folder / "b.nii")
    scores = evaluate(*folders, protocol="flare23")
    assert not scores.failures
    assert [case["nsd"] for case in scores.to_dict()["cases"]] == [case["nsd"] for case in before]


def scaled(folder, labels):
    """Labels as floats under an int16 header: nibabel finds a slope, and 3 is read as 2.9999."""
    header = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).header
    nib.save(nib.Nifti1Image(labels.T.astype(float), GRID.affine, header), folder / "b.nii.gz")
    assert not np.array_equal(nib.load(folder / "b.nii.gz").get_fdata(), labels.T)


def scaled_to_8_bits(folder, labels):
    header = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).header
    nib.save(nib.Nifti1Image(labels.T.astype(float), GRID.affine, header), folder / "b.nii.gz")


def rounded(folder, labels):
    """Spacing of three decimals: up to 0.05 mm apart at the far corner."""
    save(folder / "b.nii.gz", labels, grid=Grid(SHAPE, GRID.affine * [0.999, 0.999, 0.999, 1]))


def turned(folder, labels):
    volume = Volume(labels, GRID).reoriented("SPL")
    save(folder / "b.nii.gz", np.ascontiguousarray(volume.array), grid=volume.grid)


def with_more_axes(folder, labels):
    nib.save(
        nib.Nifti1Image(labels.T[..., None, None].astype(np.float32), GRID.affine),
        folder / "b.nii.gz",
    )


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("store", [scaled, scaled_to_8_bits, rounded, turned, with_more_axes])
def test_labels_stored_in_another_way_score_the_same(folders, store, side):
    before = evaluate(*folders).to_dict()["cases"]
    store(folders[side], organs(shift=0 if side else 1, tumor=True))
    scores = evaluate(*folders)
    assert not scores.failures
    after = scores.to_dict()["cases"]
    for one, other in zip(before, after, strict=True):
        assert one["dsc"] == other["dsc"]
        # a header rounded to 0.1 % moves no voxel, and turned axes are summed in another order
        assert one["nsd"] == pytest.approx(
            other["nsd"], abs=1e-2 if store in (rounded, turned) else 0
        )
        assert not other["warnings"]


@pytest.mark.parametrize("value", [2.9, 0.5, -1.0, 256.0, np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_not_labels_are_named(folders, value):
    labels = organs().astype(np.float32)
    labels[3, 4, 5] = value
    nib.save(nib.Nifti1Image(labels.T, GRID.affine), folders[0] / "a.nii.gz")
    scores = evaluate(*folders)
    (failure,) = scores.failures
    assert (
        f"holds the value {np.float32(value)}; a label map has whole numbers from 0 to 255 only"
        in failure.reason
    )
    assert [case.id for case in scores.cases] == ["b"]


def write_float(path):
    nib.save(nib.Nifti1Image(organs().T.astype(np.float32) * 0.5, GRID.affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncate_inside(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:2000]))


def another_spacing(path):
    save(path, organs(), grid=Grid(SHAPE, np.diag([-2.0, -2.0, 4.0, 1.0])))


def another_shape(path):
    save(path, organs()[:-1], grid=Grid((SHAPE[0] - 1, *SHAPE[1:]), GRID.affine))


def foreign_id(path):
    labels = organs()
    labels[0, 0, 0] = 77
    save(path, labels)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (write_float, "4.5"),
        (truncate, "voxels cannot be read"),
        (truncate_inside, "voxels cannot be read"),
        (another_spacing, "another grid"),
        (another_shape, "another grid"),
        (foreign_id, "77"),
        (empty, "empty"),
    ],
)
def test_a_bad_file_is_named_in_one_line_and_the_others_are_scored(
    folders, tmp_path, capsys, spoil, word, side
):
    spoil(folders[side] / "a.nii.gz")
    assert (
        main(["evaluate", str(folders[0]), str(folders[1]), "--report", str(tmp_path / "r.json")])
        == 1
    )
    streams = capsys.readouterr()
    failed = [line for line in streams.err.splitlines() if "failed: a:" in line]
    assert len(failed) == 1
    assert word in failed[0]
    assert "Traceback" not in streams.err
    report = json.loads((tmp_path / "r.json").read_text())
    assert [case["id"] for case in report["cases"]] == ["b"]
    assert report["failures"][0]["id"] == "a"


@pytest.mark.parametrize("side", ["pred", "truth"])
def test_every_kind_of_broken_image_is_named(tmp_path, capsys, side):
    kinds = {
        name: kind
        for name, kind in BROKEN.items()
        if not name.startswith("folder") and name != "truncated.nii"
    }
    for name, (make, _) in kinds.items():
        for folder in ("pred", "truth"):
            save(tmp_path / folder / name, organs())
        (tmp_path / side / name).unlink()
        make(tmp_path / side / name)
    for folder in ("pred", "truth"):
        save(tmp_path / folder / "good.nii.gz", organs())
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "pred"),
                str(tmp_path / "truth"),
                "--report",
                str(tmp_path / "r.json"),
            ]
        )
        == 1
    )
    reasons = {
        row["id"]: row["reason"]
        for row in json.loads((tmp_path / "r.json").read_text())["failures"]
    }
    assert set(reasons) == {name.removesuffix(".nii.gz") for name in kinds}
    for name, (_, said) in kinds.items():
        said = (
            "holds the value nan; a label map has whole numbers" if name == "nan.nii.gz" else said
        )
        assert said in reasons[name.removesuffix(".nii.gz")]
    errors = capsys.readouterr().err
    assert errors.count("failed: ") == len(kinds)
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "kind",
    [
        "empty.nii.gz",
        "text.nii.gz",
        "truncated.nii.gz",
        "flat.nii.gz",
        "time.nii.gz",
        "nan.nii.gz",
        "thick.nii.gz",
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_one_broken_pair_is_one_line_and_exit_code_2(tmp_path, capsys, kind, side):
    files = [save(tmp_path / "pred.nii.gz", organs()), save(tmp_path / "truth.nii.gz", organs())]
    files[side].unlink()
    BROKEN[kind][0](files[side])
    assert main(["evaluate", *map(str, files)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert str(files[side]) in line


def test_predictions_to_compare_with_are_checked_before_the_work(folders, monkeypatch, capsys):
    monkeypatch.setattr(
        "nnstudent.evaluation.evaluate.evaluate", lambda *args, **kwargs: pytest.fail("has begun")
    )
    assert main(["evaluate", *map(str, folders), "--against", "nowhere"]) == 2
    assert (
        "nowhere: no such file or folder; expected the predictions to compare with"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [["nowhere", "{truth}"], ["{pred}", "nowhere"], ["{void}", "{truth}"], ["{pred}", "{void}"]],
)
def test_nothing_to_compare_is_one_line_and_exit_code_2(folders, tmp_path, capsys, arguments):
    (tmp_path / "void").mkdir()
    places = {"pred": folders[0], "truth": folders[1], "void": tmp_path / "void"}
    assert main(["evaluate", *(text.format(**places) for text in arguments)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_custom_label_table(tmp_path):
    table = Taxonomy(
        "chest",
        (
            LabelClass(3, "lung", nsd_mm=4.0),
            LabelClass(7, "heart"),
            LabelClass(9, "nodule", "lesion"),
        ),
    )
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 3:9, 3:9], labels[9:12, 3:9, 3:9], labels[3, 3, 3] = 3, 7, 9
    truth = save(tmp_path / "cohort" / "labels" / "x.nii.gz", labels)
    write_cohort(
        tmp_path / "cohort", Cohort(table, (Case("x", truth, truth, frozenset(table.names)),))
    )
    save(tmp_path / "pred" / "x.nii.gz", labels)
    means = evaluate(tmp_path / "pred", tmp_path / "cohort").means()
    assert {name: mean.dsc for name, mean in means.items()} == dict.fromkeys(
        ["organs", "tumor", *table.names], 1.0
    )


def test_where_nobody_looked_counts_for_nothing(folders, tmp_path):
    prediction, truth = (read_labels(folder / "b.nii.gz") for folder in folders)
    liver = TABLE["liver"].id
    seen = np.where(prediction.array != truth.array, IGNORE, truth.array).astype(np.uint8)
    save(tmp_path / "t" / "b.nii.gz", seen, grid=truth.grid)
    save(tmp_path / "p" / "b.nii.gz", prediction.array, grid=prediction.grid)
    (case,) = evaluate(tmp_path / "p", tmp_path / "t").cases
    assert (seen == IGNORE).any()
    assert (seen == liver).any()
    assert {name: score.dsc for name, score in case.scores.items()} == dict.fromkeys(TABLE.names, 1)
    assert "liver" in case.present
