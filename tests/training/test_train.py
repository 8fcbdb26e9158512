from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_image, read_labels, write_image, write_labels
from nnstudent.pipeline.preset import Preset
from nnstudent.training.study import prepare_study, study, study_result
from nnstudent.training.teach import TeachResult, teach
from nnstudent.volume import Grid, Volume
from tests.training.conftest import ALL, ORGANS, TABLE, ball_scan, tiny_recipe, write_case


@pytest.fixture(scope="module")
def taught(
    balls: Cohort, preset: Preset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TeachResult, Counter[str]]:
    steps: Counter[str] = Counter()
    out = tmp_path_factory.mktemp("teachers")
    result = teach(
        balls, out, preset.teaching, progress=lambda what, done, total, **_: steps.update({what: 1})
    )
    return out, result, steps


def test_teach_makes_two_model_folders(taught: tuple[Path, TeachResult, Counter[str]]) -> None:
    out, result, steps = taught
    assert result.models == (out / "organs", out / "tumor")
    assert result.organs is not None
    assert result.organs.folds == (0, 1)
    assert steps["organs, fold 1 of 2"] == steps["organs, fold 2 of 2"] == steps["tumor"] == 4
    for fold in ("organs/fold_0", "organs/fold_1", "tumor/fold_0"):
        assert (out / fold / "checkpoint_final.pth").is_file()
        assert not (out / fold / "checkpoint_latest.pth").exists()
    assert not (out / ".work").exists()
    assert json.loads((out / "organs" / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "left_ball": 1,
        "right_ball": 2,
    }
    assert json.loads((out / "tumor" / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "spot": 1,
    }


def test_a_model_folder_names_no_place_of_this_machine(
    taught: tuple[Path, TeachResult, Counter[str]], balls: Cohort
) -> None:
    folder = str(balls["a"].image.parent.parent)
    texts = [
        path
        for path in (taught[0] / "organs").rglob("*")
        if path.is_file() and path.suffix in (".json", ".log", ".txt")
    ]
    assert len(texts) >= 8
    for path in texts:
        assert folder not in path.read_text(), path


def test_no_fold_reads_a_test_case_or_one_not_fully_annotated(
    taught: tuple[Path, TeachResult, Counter[str]],
) -> None:
    splits = json.loads((taught[0] / "organs" / "splits_final.json").read_text())
    assert {id for split in splits for id in (*split["train"], *split["val"])} == {
        "a",
        "b",
        "c",
        "d",
    }


def test_checkpoints_are_plain(taught: tuple[Path, TeachResult, Counter[str]]) -> None:
    checkpoint = torch.load(
        taught[0] / "organs" / "fold_0" / "checkpoint_final.pth", weights_only=True
    )
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["init_args"]["configuration"] == "3d_fullres"
    assert checkpoint["inference_allowed_mirroring_axes"] is None
    assert checkpoint["optimizer_state"] is None


def test_curves_are_there_for_the_report(taught: tuple[Path, TeachResult, Counter[str]]) -> None:
    curves = json.loads((taught[0] / "organs" / "fold_0" / "progress.json").read_text())
    assert curves["done"] == curves["epochs"] == 2
    for key in ("train_loss", "val_loss", "dice", "lr", "seconds"):
        assert len(curves[key]) == 2
        assert all(isinstance(value, float) for value in curves[key])
    assert list(curves["dice_by_class"]) == ["left_ball", "right_ball"]


def test_a_second_call_trains_nothing(
    taught: tuple[Path, TeachResult, Counter[str]], balls: Cohort, preset: Preset
) -> None:
    out, _, _ = taught
    before = (out / "organs" / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns
    steps: Counter[str] = Counter()
    again = teach(
        balls, out, preset.teaching, progress=lambda what, done, total, **_: steps.update({what: 1})
    )
    assert not steps
    assert again.organs is not None
    assert (again.organs.folds, again.organs.fresh) == ((0, 1), ())
    assert (out / "organs" / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def student(balls: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with a hundred steps behind it; one of its cases has pseudo-labels."""
    folder = tmp_path_factory.mktemp("study")
    recipe = tiny_recipe(epochs=5, iterations=20, validation_batches=2, augment=())
    write_cohort(folder / "fused", replace(balls, cases=tuple(balls[id] for id in "abcd")))
    rows = [
        {"case": id, "class": name, "origin": "pseudo" if id == "d" else "truth"}
        for id in "abcd"
        for name in sorted(ALL)
    ]
    (folder / "fused" / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = study(folder / "fused", folder / "student", recipe)
    assert model == folder / "student"
    return model


def test_a_student_learns_the_balls(student: Path) -> None:
    splits = json.loads((student / "splits_final.json").read_text())
    assert splits == [{"train": ["a", "b", "c", "d"], "val": ["a", "b", "c"]}]
    curves = json.loads((student / "fold_0" / "progress.json").read_text())
    assert curves["dice_by_class"]["left_ball"][-1] > 0.65
    assert curves["dice_by_class"]["right_ball"][-1] > 0.65
    assert curves["train_loss"][-1] < curves["train_loss"][0]


def test_stock_nnunet_segments_with_it_and_needs_nothing_of_ours(
    student: Path, balls: Cohort, tmp_path: Path
) -> None:
    """In a process that cannot import this package, on a scan of another orientation."""
    image = read_image(balls["test"].image).reoriented("LPI")
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    write_image(tmp_path / "in" / "case_0000.nii.gz", image)
    code = (
        "import sys; sys.modules['nnstudent'] = None\n"
        "from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor\n"
        "import torch; torch.set_num_threads(1)\n"
        "p = nnUNetPredictor(device=torch.device('cpu'), allow_tqdm=False)\n"
        "p.initialize_from_trained_model_folder(sys.argv[1], (0,))\n"
        "p.predict_from_files_sequential(sys.argv[2], sys.argv[3])\n"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(student),
        str(tmp_path / "in"),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    labels, truth = (
        read_labels(tmp_path / "out" / "case.nii.gz"),
        ball_scan(99)[1].reoriented("LPI"),
    )
    assert labels.grid.matches(image.grid)
    for channel, id in ((1, 7), (2, 3)):
        one, two = labels.array == channel, truth.array == id
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.65


def test_folds_of_another_recipe_do_not_stay_to_vote(
    balls: Cohort, preset: Preset, tmp_path: Path
) -> None:
    teach(balls, tmp_path, preset.teaching, target="organs")
    kept = (tmp_path / "organs" / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns
    teach(balls, tmp_path, preset.teaching, target="organs")
    assert (tmp_path / "organs" / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns == kept
    teach(
        balls,
        tmp_path,
        replace(preset.teaching, organs=tiny_recipe(lr=0.02)),
        target="organs",
        folds=[0],
    )
    assert [path.name for path in (tmp_path / "organs").glob("fold_*")] == ["fold_0"]


def test_another_recipe_trains_anew(balls: Cohort, preset: Preset, tmp_path: Path) -> None:
    one = teach(balls, tmp_path, preset.teaching, target="tumor").tumor
    changed = replace(preset, teachers=tiny_recipe(lr=0.02))
    two = teach(balls, tmp_path, changed.teaching, target="tumor").tumor
    assert one is not None
    assert two is not None
    assert (one.fresh, two.fresh) == ((0,), (0,))


@pytest.mark.parametrize("iterations", [2, 30])  # fewer and more than the steps it waits
def test_a_training_whose_loss_is_lost_says_so_and_leaves_no_model(
    balls: Cohort, preset: Preset, tmp_path: Path, iterations: int
) -> None:
    wild = replace(preset, teachers=tiny_recipe(lr=1e30, iterations=iterations))
    with pytest.raises(
        InputError,
        match=r"tumor: no finite loss and gradient since step [2-9]; "
        r"lower lr \(1e\+30\) or set precision = \"fp32\"",
    ):
        teach(balls, tmp_path, wild.teaching, target="tumor")
    assert list(tmp_path.rglob("*.pth")) == []


def test_a_broken_case_is_named_and_does_not_stop_the_others(
    preset: Preset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = [
        write_case(tmp_path, id, seed, ORGANS)
        for seed, id in enumerate(("a", "b", "cut", "off", "flat"))
    ]
    flat = read_image(cases[4].image)
    write_image(cases[4].image, Volume(np.full_like(flat.array, 7), flat.grid))
    cases[4] = replace(cases[4], checked=False)  # index read its header only
    cut = cases[2].image
    cut.write_bytes(cut.read_bytes()[:2000])
    label = read_labels(cases[3].label or Path())
    moved = label.grid.affine.copy()
    moved[0, 3] += 8
    write_labels(cases[3].label or Path(), Volume(label.array, Grid(label.grid.shape, moved)))
    trained = teach(
        Cohort(TABLE, tuple(cases)), tmp_path / "out", preset.teaching, target="organs"
    ).organs
    assert trained is not None
    reasons = {failure.case: failure.reason for failure in trained.failures}
    assert set(reasons) == {"cut", "off", "flat"}
    assert "label is on another grid" in reasons["off"]
    assert "every voxel is 7; expected a CT" in reasons["flat"]
    assert trained.folds == (0, 1)


def test_when_no_case_can_be_read_it_says_why(preset: Preset, tmp_path: Path) -> None:
    case = write_case(tmp_path, "a", 0, ORGANS)
    case.image.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 1 cases could be read; the first: a: "):
        teach(Cohort(TABLE, (case,)), tmp_path / "out", preset.teaching)


def test_an_image_of_four_axes_or_another_format_is_read_too(
    preset: Preset, tmp_path: Path
) -> None:
    cases = [write_case(tmp_path, id, seed, ORGANS) for seed, id in enumerate("ab")]
    stored = nib.load(cases[0].image)
    nib.save(
        nib.Nifti1Image(np.asanyarray(stored.dataobj)[..., None], stored.affine), cases[0].image
    )
    mgz = tmp_path / "images" / "b.mgz"
    other = nib.load(cases[1].image)
    nib.save(nib.MGHImage(np.asanyarray(other.dataobj), other.affine), mgz)
    cohort = Cohort(TABLE, (cases[0], replace(cases[1], image=mgz)))
    trained = teach(cohort, tmp_path / "out", preset.teaching, target="organs", folds=[0]).organs
    assert trained is not None
    assert trained.failures == ()
    assert trained.folds == (0,)
    assert (tmp_path / "out" / ".work" / "organs").is_dir()  # fold 1 still needs it


def test_nnunet_says_nothing_on_the_terminal(
    balls: Cohort, preset: Preset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    teach(balls, tmp_path, preset.teaching, target="tumor")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "nnU-Net" not in printed.err
    assert "Using device" in (tmp_path / "tumor" / "fold_0" / "nnunet.log").read_text()
    assert {
        name: value for name, value in os.environ.items() if name.startswith("nnUNet_")
    } == before


def test_folds_and_devices_that_do_not_exist(balls: Cohort, preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no fold 7; with 4 cases there are 2"):
        teach(balls, tmp_path, preset.teaching, folds=[7])
    with pytest.raises(InputError, match="device 'tpu'; expected auto, cpu or cuda"):
        teach(balls, tmp_path, preset.teaching, device="tpu")


def test_a_plain_cohort_teaches_a_student_by_truth_alone(
    balls: Cohort, preset: Preset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_cohort(tmp_path / "cohort", balls)
    with caplog.at_level(logging.INFO):
        trained = study_result(tmp_path / "cohort", tmp_path / "student", preset.student)
    assert "learns from the 4 cases with all organs annotated" in caplog.text
    assert trained.classes == ("left_ball", "right_ball", "spot")


def test_a_student_trains_on_what_was_prepared_before(
    balls: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cohort(tmp_path / "cohort", balls)
    out, recipe = tmp_path / "student", tiny_recipe()
    assert prepare_study(tmp_path / "cohort", out, recipe, organs_only=True) == ()
    assert not list(out.glob("fold_*"))  # nothing was trained
    steps: Counter[str] = Counter()

    def count_step(what: str, done: int, total: int, **_: object) -> None:
        steps.update({what: 1})

    study(tmp_path / "cohort", out, recipe, organs_only=True, progress=count_step)
    assert list(steps) == ["student"], "cases were preprocessed again"
    assert (out / "fold_0" / "checkpoint_final.pth").is_file()
    assert prepare_study(tmp_path / "cohort", out, recipe, organs_only=True) == ()
    assert not (out / ".work").exists()  # it is finished: nothing was prepared


def test_windows_can_be_drawn_by_processes(
    balls: Cohort, preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which one thread would keep waiting."""
    monkeypatch.setattr("nnstudent.training.trainer.get_allowed_n_proc_DA", lambda: 1)
    trained = teach(balls, tmp_path, preset.teaching, target="tumor").tumor
    assert trained is not None
    assert trained.folds == (0,)


def test_the_balls_are_what_they_are_meant_to_be() -> None:
    image, labels = ball_scan(0)
    assert image.array[labels.array == 7].mean() == pytest.approx(200, abs=10)
    assert set(np.unique(labels.array)) == {0, 3, 7, 20}
