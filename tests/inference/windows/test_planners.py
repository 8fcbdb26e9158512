"""The planners of windows, by name."""

from __future__ import annotations

import pytest

from nnstudent.bundle.plans import from_nnunet
from nnstudent.choices import WINDOWS
from nnstudent.errors import InputError
from nnstudent.inference.windows.planners import make_planner
from nnstudent.inference.windows.sliding import dense
from tests.inference.folders import ISOTROPIC, dataset, plans

SPEC, _ = from_nnunet(
    plans(ISOTROPIC), dataset(("liver", "aorta")), configuration="3d_fullres", name="m"
)


def test_every_choice_has_a_planner() -> None:
    planners = [make_planner(name, SPEC) for name in WINDOWS]
    assert len(set(planners)) == len(WINDOWS)
    assert make_planner("dense", SPEC) is dense


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(InputError, match=f"windows 'fast'; expected one of {WINDOWS[0]}"):
        make_planner("fast", SPEC)
