"""How the house is kept: every module has its tests, and no file, class or function
grows too long."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "nnstudent"
FILE, CLASS, FUNCTION = 400, 250, 60  # lines at most, docstrings apart for classes and functions

# Modules without a test of their own, by the tests that run them, as of 2026-11-28. Take entries
# out; add none.
NO_TWIN = {
    "the verbs are run by the tests of what they call, and by cli/test_main and cli/test_bad_input": (
        "cli/evaluate cli/maps cli/phantom cli/profile cli/reference "
        "cli/report cli/run cli/segment cli/select cli/serve cli/study"
    ),
    "bundle/test_bundle, test_export, test_nnunet": (
        "bundle/card bundle/lesion_stage bundle/network bundle/quantise bundle/spec bundle/write"
    ),
    "inference/test_segmenter and test_against_stock, with every engine": (
        "inference/case_run inference/engines/engine inference/engines/openvino "
        "inference/engines/torch inference/files/options inference/grid/torch_restore "
        "inference/model_runner inference/network_run"
    ),
    "io/test_nifti": "io/nifti_open",
    "web/test_archive, over requests": "io/archive",
    "report/test_tables": "report/protocols",
    "io/test_finder, io/dicom/test_series": (
        "io/dicom/seg io/dicom/source_headers io/dicom/slices io/dicom/values"
    ),
    "labels/test_relabel": ("labels/apply"),
    "one number, one name": ("progress web/pacs/errors"),
    "phantom/test_anatomy looks at the organs that they draw": (
        "phantom/bowel phantom/build phantom/lesions phantom/organs phantom/render "
        "phantom/skeleton phantom/torso phantom/vessels"
    ),
    "test_path and pipeline/test_rounds run every stage": (
        "pipeline/steps/baseline "
        "pipeline/steps/ensemble pipeline/steps/evaluate pipeline/steps/export "
        "pipeline/steps/index pipeline/steps/label pipeline/steps/profile "
        "pipeline/steps/report pipeline/steps/second pipeline/steps/segment "
        "pipeline/steps/select pipeline/steps/study pipeline/steps/teach"
    ),
    "pseudo/test_label, test_select, test_fused": ("pseudo/overlay pseudo/write"),
    "report/test_html": ("report/figures report/previews"),
    "training/test_train, test_networks and those of augment and design": (
        "training/augment/batch training/augment/physiology "
        "training/augment/transforms training/data/dataset training/data/inspect "
        "training/data/preprocess training/data/windows "
        "training/design/speed training/networks/separable "
        "training/networks/strided_stem training/networks/unet training/objective "
        "training/precision training/provenance training/study training/teach "
        "training/trainer"
    ),
    "web/test_access, test_uploads, test_openapi, over requests": (
        "web/app web/routes web/schema web/service web/settings"
    ),
}
# Longer than the rules allow, and how long, as of 2026-11-28. Take entries out; add none.
LONG: dict[str, int] = {}


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
    """Whether a module has tests of its own, also several: ``test_select`` or
    ``test_select_open``."""
    folder, _, name = module.rpartition("/")
    return any(
        path.stem == f"test_{name}" or path.stem.startswith(f"test_{name}_")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    )


def test_every_module_has_tests_at_the_mirrored_path() -> None:
    missing = {module for module in modules() if not has_twin(module)}
    known = {module for names in NO_TWIN.values() for module in names.split()}
    assert missing <= known, f"write tests/…/test_NAME.py for {sorted(missing - known)}"
    remind(known - missing, "has tests or is gone: take it out of NO_TWIN")


def remind(names: set[str], what: str) -> None:
    """Warn of exceptions that are none any more."""
    if names:
        warnings.warn(f"{', '.join(sorted(names))}: {what}", stacklevel=2)


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of a function or class without its own docstring."""
    count = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        count -= (first.end_lineno or first.lineno) - first.lineno + 1
    return count


def too_long(path: Path) -> Iterator[tuple[str, int]]:
    """What is too long in a file, and how long it is; of tests only the file counts."""
    text, name = path.read_text("utf-8"), path.relative_to(ROOT).as_posix()
    if (count := len(text.splitlines())) > FILE:
        yield name, count
    if name.startswith("tests/"):
        return
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
    remind(set(LONG) - set(found), "is short enough now: take it out of LONG")
