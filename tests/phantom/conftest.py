from __future__ import annotations

import pytest

from nnstudent.phantom import PhantomCase, make_case
from nnstudent.taxonomy import flare23

SEEDS = range(40, 45)
IDS = {item.name: item.id for item in flare23()}


@pytest.fixture(scope="session")
def abdomens() -> list[PhantomCase]:
    """Whole abdomens; for reading only."""
    return [make_case(seed, preset="tiny") for seed in SEEDS]
