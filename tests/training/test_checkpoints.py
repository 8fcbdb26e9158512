"""Trainings that are killed resume from their checkpoints, and damaged files are set aside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nnstudent.cohort.cohort import Cohort, read_cohort, write_cohort
from nnstudent.errors import OutputError
from nnstudent.io.lock import writing
from nnstudent.pipeline.preset import Preset
from nnstudent.training.teach import TeachResult, teach
from tests.training.conftest import tiny_recipe


@pytest.fixture(scope="module")
def killed(balls: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort, and teachers whose training was killed in its fourth epoch of two steps."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    folder = tmp_path_factory.mktemp("killed")
    write_cohort(folder / "cohort", balls)
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from nnstudent.cohort.cohort import read_cohort\n"
        "from nnstudent.training.teach import teach\n"
        "from tests.training.test_checkpoints import five_epochs\n"
        "def kill(what, done, total, note=''):\n"
        "    if what == 'tumor' and done == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "teach(read_cohort(Path(sys.argv[2])), Path(sys.argv[3]), five_epochs().teaching,\n"
        "      target='tumor', progress=kill)\n"
    )
    words = [
        str(Path(__file__).resolve().parents[2]),
        str(folder / "cohort"),
        str(folder / "teachers"),
    ]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    return folder


def resume(killed: Path, out: Path) -> tuple[TeachResult, list[int]]:
    """Call again; the result, and the steps that were made."""
    seen: list[int] = []

    def note(what: str, at: int, total: int, *, note: str = "") -> None:
        assert "preprocessing" not in what
        if what == "tumor":
            seen.append(at)
            assert re.fullmatch(r"loss -?\d+\.\d\d(, Dice \d\.\d\d)?", note)

    return teach(
        read_cohort(killed / "cohort"), out, five_epochs().teaching, target="tumor", progress=note
    ), seen


def test_killed_training_goes_on_from_its_last_checkpoint(killed: Path, tmp_path: Path) -> None:
    fold = shutil.copytree(killed / "teachers", tmp_path / "teachers") / "tumor" / "fold_0"
    latest = torch.load(fold / "checkpoint_latest.pth", weights_only=True)
    assert latest["current_epoch"] == 3
    weights = latest["network_weights"]
    done, seen = resume(killed, tmp_path / "teachers")
    assert seen == [7, 8, 9, 10]  # three epochs of two steps are not repeated
    assert done.tumor is not None
    curves = json.loads((fold / "progress.json").read_text())
    assert (curves["done"], len(curves["train_loss"])) == (5, 5)
    final = torch.load(fold / "checkpoint_final.pth", weights_only=True)["network_weights"]
    moved = {name: float((final[name] - weights[name]).abs().max()) for name in weights}
    assert 0 < max(moved.values()) < 0.5  # resumes from those weights


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    """One bit of a weight, which torch does not notice."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(("names", "first"), [(["latest"], 5), (["latest", "previous"], 1)])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    damage: Callable[[Path], None],
    names: list[str],
    first: int,
    killed: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fold = shutil.copytree(killed / "teachers", tmp_path / "teachers") / "tumor" / "fold_0"
    for name in names:
        damage(fold / f"checkpoint_{name}.pth")
    _, seen = resume(killed, tmp_path / "teachers")
    assert seen == list(range(first, 11))
    for name in names:
        assert f"checkpoint_{name}.pth: cannot be resumed from" in caplog.text
    assert sorted(path.name for path in fold.iterdir() if "checkpoint" in path.name) == [
        "checkpoint_final.pth"
    ]


def test_a_damaged_result_is_trained_again(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fold = shutil.copytree(killed / "teachers", tmp_path / "teachers") / "tumor" / "fold_0"
    resume(killed, tmp_path / "teachers")
    assert resume(killed, tmp_path / "teachers")[1] == []
    cut(fold / "checkpoint_final.pth")
    assert (
        teach(
            read_cohort(killed / "cohort"),
            tmp_path / "teachers",
            five_epochs().teaching,
            target="tumor",
        ).tumor
        is not None
    )
    assert "checkpoint_final.pth: has changed since it was written" in caplog.text
    torch.load(fold / "checkpoint_final.pth", weights_only=True)


@pytest.mark.parametrize("what", ["task.json", "prepared.json", "case", "hashes"])
def test_damaged_notes_of_an_earlier_call_are_made_again(
    what: str, killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = shutil.copytree(killed / "teachers", tmp_path / "teachers")
    work = out / ".work" / "tumor"
    if what == "case":  # as a kill while nnU-Net writes it would leave it
        (prepared,) = work.glob("preprocessed/*/prepared.json")
        prepared.unlink()
        cut(next(work.glob("preprocessed/*/*/*_seg.b2nd")))
    else:
        (path,) = [out / "tumor" / ".hashes.json"] if what == "hashes" else list(work.rglob(what))
        path.write_text('{"half": [')
    done = teach(read_cohort(killed / "cohort"), out, five_epochs().teaching, target="tumor")
    assert done.tumor is not None
    assert (done.tumor.folds, done.failures) == ((0,), ())
    assert what == "case" or "not valid JSON" in caplog.text


def test_two_calls_do_not_train_one_fold(killed: Path, tmp_path: Path) -> None:
    out = shutil.copytree(killed / "teachers", tmp_path / "teachers")
    with (
        writing(out / "tumor" / "fold_0"),
        pytest.raises(OutputError, match="fold_0: another call writes into it"),
    ):
        resume(killed, out)


def five_epochs() -> Preset:
    """A preset of five epochs of two steps that saves after each."""
    recipe = tiny_recipe(epochs=5)
    return Preset("five", teachers=recipe, student=recipe)
