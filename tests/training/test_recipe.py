from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset, preset_names
from nnstudent.training.recipe import AUGMENTATIONS, Recipe
from nnstudent.training.schedule import fading, learning_rate
from tests.training.conftest import tiny_recipe


@pytest.mark.parametrize("name", preset_names())
def test_a_recipe_survives_json(name: str) -> None:
    preset = load_preset(name)
    for recipe in (preset.teachers, preset.student, preset.tumor):
        if recipe is not None:
            assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("name", preset_names())
def test_nothing_mirrors(name: str) -> None:
    assert not any(
        "mirror" in item.name or "flip" in item.name
        for item in load_preset(name).student.training.augment
    )
    assert "mirror" not in AUGMENTATIONS


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
