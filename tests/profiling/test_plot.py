"""The plot of a profile."""

from __future__ import annotations

import sys

import pytest

from nnstudent.cli import main
from nnstudent.errors import MissingExtraError
from nnstudent.profiling.plot import write_plot
from tests.profiling.conftest import python


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_plot_is_drawn(tmp_path, held, suffix):
    pytest.importorskip("matplotlib", reason="the plot needs the extra [report]")
    path = tmp_path / f"cost{suffix}"
    write_plot(held, path)
    assert path.read_bytes().startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")


def test_a_plot_that_cannot_be_drawn_is_known_before_the_command_runs(
    tmp_path, monkeypatch, capsys
):
    ran = tmp_path / "ran"
    command = python("open({path!r}, 'w')", path=str(ran))
    assert main(["profile", "--plot", str(tmp_path / "x.gif"), "--", *command]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["profile", "--plot", str(tmp_path / "x.svg"), "--", *command]) == 2
    assert "nnstudent[report]" in capsys.readouterr().err
    assert not ran.exists()
    with pytest.raises(MissingExtraError):
        write_plot(None, tmp_path / "x.svg")
