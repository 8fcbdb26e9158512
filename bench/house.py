"""Counts how the code is laid out, of this tree or of another commit's checkout."""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.common import ROOT


def measure(tree: Path) -> dict[str, str]:
    """Measure the package in a source tree.

    Args:
        tree: A checkout, with ``src/nnstudent`` and ``tests`` in it.

    Returns:
        What was counted, ready to be printed, by its name.
    """
    source = tree / "src" / "nnstudent"
    paths = sorted(source.rglob("*.py"))
    parsed = {path: ast.parse(path.read_text("utf-8")) for path in paths}
    folders = Counter(path.parent.relative_to(source).as_posix() for path in paths)
    files = [(len(path.read_text("utf-8").splitlines()), _name(path, source)) for path in paths]
    functions = list(_long(parsed, source, ast.FunctionDef, ast.AsyncFunctionDef))
    classes = list(_long(parsed, source, ast.ClassDef))
    modules = [path for path in paths if _has_code(path, parsed[path])]
    lonely = [path for path in modules if not _has_twin(path, source, tree / "tests")]
    largest = ", ".join(f"{folder} {count}" for folder, count in folders.most_common(4))
    return {
        "files, in folders": f"{len(files)}, {len(folders)}",
        "lines": str(sum(count for count, _ in files)),
        "largest folders": largest,
        "longest file": _longest(files, over=400),
        "longest class": _longest(classes, over=250),
        "longest function": _longest(functions, over=60),
        "modules without tests at the mirrored path": f"{len(lonely)} of {len(modules)}",
    }


def _name(path: Path, source: Path) -> str:
    return path.relative_to(source).with_suffix("").as_posix()


_Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _long(
    parsed: dict[Path, ast.Module], source: Path, *kinds: type[_Named]
) -> Iterator[tuple[int, str]]:
    """Lines of each function or class without its own docstring, and where it is."""
    for path, tree in parsed.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                first, count = node.body[0], _lines(node)
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    count -= _lines(first)
                yield count, f"{_name(path, source)}: {node.name}"


def _longest(found: list[tuple[int, str]], *, over: int) -> str:
    count, name = max(found)
    return f"{count} ({name}); {sum(lines > over for lines, _ in found)} over {over}"


def _has_code(path: Path, tree: ast.Module) -> bool:
    code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    return code and path.name not in ("__init__.py", "__main__.py")


def _has_twin(path: Path, source: Path, tests: Path) -> bool:
    folder = tests / path.parent.relative_to(source)
    return any(
        test.stem == f"test_{path.stem}" or test.stem.startswith(f"test_{path.stem}_")
        for test in folder.glob("test_*.py")
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.house", description=__doc__)
    parser.add_argument("tree", type=Path, nargs="?", default=ROOT, help="a checkout")
    for name, value in measure(parser.parse_args().tree).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
