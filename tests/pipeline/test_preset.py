"""Presets, and files of one's own that are like one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset
from nnstudent.training.recipe import Augmentation


def test_presets_load_without_torch() -> None:
    code = "import sys; from nnstudent.pipeline.preset import *; [load_preset(n) for n in preset_names()]; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == "False"


@pytest.mark.parametrize("name", ["demo", "laptop"])
def test_one_student_presets_resample_in_one_go(name: str) -> None:
    student = load_preset(name).student
    assert max(student.data.spacing_mm) / min(student.data.spacing_mm) < 3
    assert student.data.separate_z is False
    assert load_preset(name).one_student
    assert max(student.network.features) <= 192


def test_a_precision_for_labeling_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    text = 'like = "distill"\nlabel_precision = "fp64"\n'
    with pytest.raises(InputError, match=r"label_precision = 'fp64'; expected one of auto, fp32"):
        load_preset(_write(tmp_path, text))


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_file_can_be_like_a_preset(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        'like = "laptop"\n[student.training]\nepochs = 7\n[student.training.augment]\nnoise = {p = 0.9}\n',
    )
    mine, laptop = load_preset(path), load_preset("laptop")
    assert (mine.name, mine.student.training.epochs, mine.teachers.training.epochs) == (
        "mine",
        7,
        laptop.teachers.training.epochs,
    )
    assert mine.student.network == laptop.student.network
    assert next(
        item for item in mine.student.training.augment if item.name == "noise"
    ) == Augmentation("noise", 0.9, 0.0, 0.1)
    assert len(mine.student.training.augment) == len(laptop.student.training.augment)


def test_a_file_can_be_like_one_beside_it(tmp_path: Path) -> None:
    mine = _write(tmp_path, 'like = "laptop"\n[student.training]\nepochs = 7\nlr = 3e-3\n')
    other = tmp_path / "other.toml"
    other.write_text('like = "mine.toml"\n[student.training]\nepochs = 8\n')
    training = load_preset(other).student.training
    assert (load_preset(other).name, training.epochs, training.lr) == (
        "other",
        8,
        load_preset(mine).student.training.lr,
    )
    for like in ("other.toml", "none.toml", "../mine.toml"):
        mine.write_text(f'like = "{like}"\n')
        with pytest.raises(InputError, match="or another file beside it"):
            load_preset(other)


def test_a_list_of_augmentations_replaces_the_table(tmp_path: Path) -> None:
    path = _write(tmp_path, 'like = "laptop"\n[student.training]\naugment = ["noise", "gamma"]\n')
    assert [item.name for item in load_preset(path).student.training.augment] == ["noise", "gamma"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('like = "laptop"\nfodls = 3\n', "unknown key 'fodls'"),
        (
            'like = "laptop"\n[student.training]\nepoch = 3\n',
            "student.training: unknown key 'epoch'",
        ),
        (
            'like = "laptop"\n[student.training]\nepochs = "many"\n',
            "epochs = 'many'; expected a whole number",
        ),
        ('like = "laptop"\n[student.training]\nepochs = 0\n', "at least 1"),
        ('like = "laptop"\n[student.training]\noptimizer = "lion"\n', "expected one of sgd, adamw"),
        ('like = "laptop"\n[student.training]\naugment = ["mirror"]\n', "no augmentation 'mirror'"),
        ('like = "laptop"\n[student.data]\npatch = [50, 96, 160]\n', "must be a multiple"),
        ('like = "laptop"\n[student.data]\npatch = [48, 96]\n', "expected 3 values"),
        ('like = "laptop"\n[student.network]\nfeatures = [8, 16]\n', "a stride for each"),
        ('like = "desktop"\n', "expected one of demo, distill, laptop, paper"),
        ("folds = 2\n", "teachers is missing"),
        ('like = "laptop"\nsecond_classes = ["liver"]\n', "lacks the recipe [second]"),
        ('like = "laptop"\n[second]\nlike = "student"\n', "lacks second_classes"),
        (
            'like = "laptop"\nsecond_classes = ["aorta"]\n[second]\nlike = "student"\n[second.training]\npartial = "background"\n',
            "[second] has partial",
        ),
        ('[student]\nlike = "student"\n', "no recipe that another can be like"),
        ("folds = \n", "not valid TOML"),
    ],
)
def test_a_bad_preset_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        load_preset(_write(tmp_path, text))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preset_that_is_not_there() -> None:
    with pytest.raises(InputError, match="choose one of demo, distill, laptop, paper"):
        load_preset("server")
