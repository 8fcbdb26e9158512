from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset, preset_names
from nnstudent.training.recipe import AUGMENTATIONS, Augmentation, Recipe
from nnstudent.training.schedule import fading, learning_rate
from tests.training.conftest import tiny_recipe


@pytest.mark.parametrize("name", preset_names())
def test_a_recipe_survives_json(name: str) -> None:
    preset = load_preset(name)
    for recipe in (preset.teachers, preset.student, preset.tumor):
        if recipe is not None:
            assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


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


@pytest.mark.parametrize("name", preset_names())
def test_nothing_mirrors(name: str) -> None:
    assert not any(
        "mirror" in item.name or "flip" in item.name
        for item in load_preset(name).student.training.augment
    )
    assert "mirror" not in AUGMENTATIONS


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
        ('like = "desktop"\n', "expected one of demo, laptop, paper"),
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
    with pytest.raises(InputError, match="choose one of demo, laptop, paper"):
        load_preset("server")


@settings(deadline=None)  # the machine may be busy
@given(step=st.integers(0, 374_999))
def test_poly_is_the_papers(step: int) -> None:
    training = load_preset("paper").student.training
    assert learning_rate(training, step) == pytest.approx(0.01 * (1 - (step // 250) / 1500) ** 0.9)


@settings(deadline=None)  # the machine may be busy
@given(step=st.integers(20, 98))
def test_cosine_falls_after_the_warm_up(step: int) -> None:
    training = tiny_recipe(epochs=10, iterations=10, warmup=20).training
    assert 0 < learning_rate(training, step + 1) < learning_rate(training, step) <= training.lr
    assert learning_rate(training, 0) < learning_rate(training, 10)


def test_class_weights_fade_in_the_second_half() -> None:
    training = tiny_recipe(epochs=10, fade_weights=True).training
    assert [fading(training, epoch) for epoch in (0, 5, 6, 9)] == [
        1.0,
        1.0,
        0.8,
        pytest.approx(0.2),
    ]
    assert fading(tiny_recipe(epochs=10, fade_weights=False).training, 9) == 1.0


def test_classes_may_be_left_open_only_where_the_loss_allows_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('like = "laptop"\n[student.training]\npartial = "background"\n')
    with pytest.raises(InputError, match="takes an open class for absent"):
        load_preset(path)
    path.write_text(
        'like = "laptop"\n[select]\nleave_open = false\n[student.training]\npartial = "background"\n'
    )
    assert load_preset(path).select.leave_open is False
