"""The docs name only what is there: verbs, options, modules, pages."""

from __future__ import annotations

import importlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nnstudent.cli.main import build_parser
from nnstudent.phantom.acquisition import find_scan_preset, scan_presets

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *DOCS.parent.glob("README.md")] if DOCS.is_dir() else []
pytestmark = pytest.mark.skipif(
    not PAGES, reason="no docs here: they are not part of the source package"
)


def blocks(page: Path, *languages: str) -> str:
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), flags=re.S | re.M)
    return "\n".join(text for language, text in found if language in languages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), flags=re.M)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
            }, f"{target}: no such heading"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "import" in blocks(page, "python")],
    ids=lambda page: page.name,
)
def test_python_that_is_shown_is_there(page):
    for module, names in re.findall(
        r"^from (nnstudent[\w.]*) import ([\w, ]+)", blocks(page, "python"), flags=re.M
    ):
        found = importlib.import_module(module)
        for name in names.split(","):
            assert hasattr(found, name.strip()), f"{module} has no {name}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "command.md"], ids=lambda page: page.name
)
def test_commands_that_are_shown_are_understood(page):
    """Verbs and options only; what is optional in a sentence need not be a whole call."""
    (verbs,) = (action.choices for action in build_parser()._actions if action.dest == "verb")
    for line in re.sub(r"\\\n", " ", blocks(page, "sh")).splitlines():
        for call in re.findall(r"\bnnstudent ([a-z]+)\b([^#&|;]*)", line):
            verb, rest = (
                call[0],
                call[1].partition(" -- ")[0],
            )  # what follows belongs to the command that is called
            assert verb in verbs, f"{line}: no verb {verb}"
            known = set(verbs[verb]._option_string_actions)
            assert set(re.findall(r"(?<=\s)(--?[a-z][a-z0-9-]*)", rest)) <= known, (
                f"{line}: an option that {verb} does not have"
            )


# A student that learns next to nothing, quickly: the snippets are run for what they call, not for
# what it finds.
PRESET = """
folds = 2
[select]
min_agreement = 0.0
[student.network]
features = [4, 8, 8]
strides  = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
[student.data]
spacing_mm  = [8.0, 8.0, 8.0]
patch       = [16, 16, 16]
image_order = 1
separate_z  = false
[student.training]
epochs             = 1
iterations         = 2
validation_batches = 1
augment            = ["brightness"]
[teachers]
like = "student"
"""


@pytest.mark.slow
def test_the_python_page_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("nnunetv2", reason="training needs the extra [train]")
    pytest.importorskip("fastapi", reason="the service needs the extra [web]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("preset.toml").write_text(PRESET, "utf-8")
    coarse = replace(
        find_scan_preset("tiny"), size=48, spacing_mm=(7.6, 8.6), thickness_mm=(8.0, 8.0)
    )
    for name in scan_presets():  # a patient of a usual size takes the bundled student a while
        monkeypatch.setitem(scan_presets(), name, coarse)
    names: dict[str, object] = {}
    exec(
        compile(blocks(DOCS / "reference" / "api.md", "python"), "api.md", "exec"), names
    )  # our own page
    assert names["path"].report.is_file()
    assert names["cost"].exit_code == 0


def test_the_onnx_page_runs_without_the_package(tmp_path, monkeypatch):
    for module in ("onnxruntime", "onnx", "torch"):
        pytest.importorskip(module, reason="ONNX needs the extra [onnx]")
    from nnstudent import Segmenter, export_onnx, make_phantom, open_model, read_labels, write_image
    from tests.inference.folders import ISOTROPIC, make_folder

    folder = make_folder(tmp_path / "model", ISOTROPIC, seed=1)
    export_onnx(open_model(folder), tmp_path / "student.onnx")
    image = make_phantom(2, preset="tiny", slices=24).image
    write_image(tmp_path / "ct.nii.gz", image)
    monkeypatch.chdir(tmp_path)
    code = blocks(DOCS / "how-to" / "onnx.md", "python")
    assert "nnstudent" not in code
    exec(compile(code, "onnx.md", "exec"), {})  # our own page
    found = read_labels(Path("labels.nii.gz")).reoriented(image.grid.axcodes).array
    expected = Segmenter(folder, windows="dense", precision="fp32", postprocess=())(image)
    assert len(set(found.flat)) == 4
    assert (found == expected.labels.array).mean() > 0.995


def test_the_readme_is_short() -> None:
    text = (DOCS.parent / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 90
    prose = re.sub(r"```.*?```|^[|#!>].*?$|\]\([^)]*\)|\*\*", "", text, flags=re.S | re.M)
    for sentence in re.split(r"(?<=[.:?;])\s", prose):
        assert len(sentence.split()) <= 25, f"a long sentence: {sentence}"


def test_every_page_is_in_the_navigation() -> None:
    """So that the site leads to it; `make docs` shows the rest of what is wrong with links."""
    listed = (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    contents = (DOCS / "index.md").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert f" {name}\n" in listed, "list it under nav in mkdocs.yml"
        assert f"({name})" in contents or name == "index.md", "list it in docs/index.md"
