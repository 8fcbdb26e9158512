from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.web.datastore.models import Models
from nnstudent.web.datastore.scans import ConflictError


@pytest.fixture(scope="module")
def base():
    return open_model(None)


def student(models, base):
    """Another student: a copy of the bundled one."""
    number, folder = models.new()
    shutil.copytree(base.path, folder / "bundle")
    return number


def test_a_student_is_used_after_a_restart_and_can_be_gone_back_from(tmp_path, base):
    models = Models(tmp_path / "models", base)
    assert models.current() is base
    with pytest.raises(ConflictError, match="no way back"):
        models.go_back()
    first, second = student(models, base), student(models, base)
    models.use(first)
    models.use(second)
    models.record(second, {"better": True})
    again = Models(tmp_path / "models", base)
    assert again.number == second
    assert again.current().path == again.bundle(second)
    assert again.results() == {second: {"better": True}}
    assert again.go_back().path == again.bundle(first)
    assert again.go_back() is base
    assert again.new()[0] == 3, "numbers are not used twice"


def test_a_damaged_student_is_passed_over(tmp_path, base):
    models = Models(tmp_path / "models", base)
    number = student(models, base)
    models.use(number)
    shutil.rmtree(models.bundle(number))
    again = Models(tmp_path / "models", base)
    assert again.current() is base


def test_what_a_training_left_is_deleted(tmp_path, base):
    models = Models(tmp_path / "models", base)
    used, unused = student(models, base), student(models, base)
    (models.bundle(used).parent / "fused").mkdir()
    models.use(used)
    for number in (used, unused):
        models.tidy(number)
    assert [path.name for path in models.bundle(used).parent.iterdir()] == ["bundle"]
    assert not models.bundle(unused).parent.exists()


def test_a_damaged_list_begins_anew(tmp_path, base):
    models = Models(tmp_path / "models", base)
    student(models, base)
    (tmp_path / "models" / "models.json").write_text("[]")
    again = Models(tmp_path / "models", base)
    assert (again.number, again.new()[0]) == (0, 2)


def test_students_of_another_model_are_not_used(tmp_path, base):
    models = Models(tmp_path / "models", base)
    models.use(student(models, base))
    assert Models(tmp_path / "models", SimpleNamespace(hash="another")).number == 0
