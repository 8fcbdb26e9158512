"""The page of presets says what the code says, of every key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from nnstudent.cli.recipe_reference import TABLES, attributes, page
from nnstudent.pipeline.preset import load_preset

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipe.md"


@pytest.mark.skipif(
    not PAGE.is_file(), reason="no docs here: they are not part of the source package"
)
def test_the_page_is_what_the_code_says():
    assert PAGE.read_text("utf-8") == page(), (
        "python -m nnstudent.cli.recipe_reference > docs/reference/recipe.md"
    )


@pytest.mark.parametrize("kind", [kind for _, kind, _ in TABLES], ids=lambda kind: kind.__name__)
def test_every_key_is_told(kind):
    assert set(attributes(kind)) == set(kind.__dataclass_fields__)


def test_the_preset_that_is_shown_loads(tmp_path):
    shown = page().partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "own.toml").write_text(shown)
    preset = load_preset(tmp_path / "own.toml")
    assert preset.student.training.epochs == tomllib.loads(shown)["student"]["training"]["epochs"]
    assert preset.tumor is not None
    assert preset.tumor.training.lr == 5e-3
