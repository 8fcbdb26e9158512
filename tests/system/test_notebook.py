"""The notebook of the tutorial runs as it stands, and what it shows is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial" / "segment-look-evaluate.ipynb"


def outputs(notebook: nbformat.NotebookNode) -> list[dict[str, object]]:
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(
        str(output["text"]) for output in outputs(notebook) if output["output_type"] == "stream"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where: Path = tmp_path_factory.mktemp("notebook")
    return NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(where)}}
    ).execute()


def test_it_finds_the_organs_and_shows_a_picture(run: nbformat.NotebookNode) -> None:
    scores = {
        name: float(dsc)
        for name, dsc in re.findall(r"^(\w+) +DSC (\d\.\d+)", printed(run), flags=re.M)
    }
    assert len(scores) == 13
    assert scores["liver"] > 0.9
    assert sum(scores.values()) / len(scores) > 0.7
    assert any("image/png" in output.get("data", {}) for output in outputs(run))  # type: ignore[operator]


def test_what_it_shows_is_what_comes_out(run: nbformat.NotebookNode) -> None:
    """Figures may differ in their last digit between processors; lines may not."""
    shown, found = (
        re.sub(r"\d", "0", printed(each)) for each in (nbformat.read(NOTEBOOK, as_version=4), run)
    )
    assert [line.split()[0] for line in shown.splitlines()] == [
        line.split()[0] for line in found.splitlines()
    ]
