"""How the house is kept: every module has its tests, and no file, class or function grows too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "nnstudent"
FILE, CLASS, FUNCTION = 400, 250, 60  # lines at most, docstrings apart for classes and functions

# Modules without a test of their own, each with the tests that run it.
NO_TWIN = {}
# Longer than the rules allow, as of 2026-11-28. Take entries out; add none.
LONG = {}


def modules() -> list[str]:
    """Modules that have code, below the package: ``io/nifti``."""
    found = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        has_code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        if has_code and path.name not in ("__init__.py", "__main__.py"):
            found.append(path.relative_to(SOURCE).with_suffix("").as_posix())
    return sorted(found)


def has_twin(module: str) -> bool:
    """Whether a module has tests of its own, also several: ``test_select`` or ``test_select_open``."""
    folder, _, name = module.rpartition("/")
    return any(
        path.stem == f"test_{name}" or path.stem.startswith(f"test_{name}_")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    )


def test_every_module_has_tests_at_the_mirrored_path() -> None:
    missing = {module for module in modules() if not has_twin(module)}
    assert missing - set(NO_TWIN) == set(), "write tests/…/test_NAME.py"
    assert set(NO_TWIN) - missing == set(), "it has tests now: take it out of NO_TWIN"


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of a function or class without its own docstring."""
    count = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        count -= (first.end_lineno or first.lineno) - first.lineno + 1
    return count


def too_long(path: Path) -> Iterator[tuple[str, int]]:
    """What is too long in a file, and how long it is."""
    text, name = path.read_text("utf-8"), path.relative_to(ROOT).as_posix()
    if (count := len(text.splitlines())) > FILE:
        yield name, count
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines(node) > FUNCTION:
            yield f"{name}:{node.name}", lines(node)
        if isinstance(node, ast.ClassDef) and lines(node) > CLASS:
            yield f"{name}:{node.name}", lines(node)


def test_no_file_class_or_function_is_too_long() -> None:
    found = {
        name: count
        for folder in ("src", "bench", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name, count in too_long(path)
    }
    grown = {name: count for name, count in found.items() if count > LONG.get(name, 0)}
    assert not grown, "take it apart"
    assert set(LONG) <= set(found), "it is short enough now: take it out of LONG"
