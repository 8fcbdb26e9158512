"""The public names: what they are, that they are typed, and that importing the package costs
nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnstudent
from tests.conftest import ROOT

SOURCE = Path(nnstudent.__file__)


def typed_names() -> dict[str, str]:
    """What the block for type checkers imports: public name → ``module`` or ``module:name``."""
    (block,) = (
        node
        for node in ast.parse(SOURCE.read_text("utf-8")).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        module = str(node.module).removeprefix("nnstudent.")
        for item in node.names:
            found[item.asname or item.name] = f"{module}:{item.name}" if item.asname else module
    return found


def test_type_checkers_see_the_names_that_there_are():
    assert typed_names() == nnstudent._PUBLIC


@pytest.mark.parametrize("name", sorted(set(nnstudent.__all__) - {"__version__"}))
def test_a_public_name_is_there_and_documented(name):
    value = getattr(nnstudent, name)
    assert value.__doc__, f"{name} has no docstring"


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segmenter'"):
        _ = nnstudent.segmenter


def test_the_import_brings_no_library():
    """Neither numpy nor anything heavier is imported with the package itself."""
    code = (
        "import sys; before = set(sys.modules); import nnstudent; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - "
        "set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nnstudent"]


def test_no_module_of_the_package_uses_its_front_door():
    """The modules import each other where they are; the front door is for users."""
    for path in SOURCE.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "nnstudent":
                assert {item.name for item in node.names} <= {"__version__", "cli"}, path


def test_the_version_is_that_of_the_changelog_and_of_the_citation():
    latest = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert latest is not None, "the topmost section is ## VERSION (unreleased), or (the date)"
    assert latest[1] == nnstudent.__version__
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", latest[2])
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == nnstudent.__version__
