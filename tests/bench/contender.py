"""A model of random weights for the benchmark of inference."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import floor
from bench.scans import Contender
from nnstudent.bundle.export import export
from nnstudent.taxonomy import flare23
from tests.inference.folders import ISOTROPIC, make_folder


def make_contender(work: Path) -> Contender:
    folder = make_folder(work / "model", ISOTROPIC, classes=flare23().organs)
    return Contender("paper-plan", export(folder, work / "bundle"), folder)


def floor_of_a_tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure what the processor can do by a small convolution instead of a large one."""
    monkeypatch.setattr(floor, "CHANNELS", 16)
    monkeypatch.setattr(floor, "SIZE", (4, 8, 8))
