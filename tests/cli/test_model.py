"""The verb ``model``, and names of models in other verbs."""

from __future__ import annotations

import pytest

from nnstudent.bundle.store import VARIABLE
from nnstudent.cli.main import main
from tests.inference.folders import ISOTROPIC, make_folder


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))


def test_a_model_is_added_listed_described_and_removed(tmp_path, capsys):
    folder = make_folder(tmp_path / "model", ISOTROPIC)
    assert main(["model", "add", str(folder), "--name", "balls"]) == 0
    assert "use it with --model balls" in capsys.readouterr().out
    assert main(["model", "list"]) == 0
    listed = capsys.readouterr().out
    assert "balls" in listed
    assert "totalsegmentator-organs" in listed
    assert main(["info", "--model", "balls"]) == 0
    assert main(["model", "remove", "balls"]) == 0
    assert main(["info", "--model", "balls"]) == 2
    assert "no model of this name" in capsys.readouterr().err


def test_add_needs_to_know_what(capsys):
    assert main(["model", "add"]) == 2
    assert "expected a file, a folder or an address" in capsys.readouterr().err
