"""The planners of windows, by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnstudent.bundle.plans import from_nnunet
from nnstudent.choices import WINDOWS
from nnstudent.errors import InputError
from nnstudent.inference.host_view import NOTHING
from nnstudent.inference.windows.accumulator import WindowLogits
from nnstudent.inference.windows.planners import make_planner
from nnstudent.inference.windows.sliding import Canvas, dense
from nnstudent.volume import Shape
from tests.inference.folders import ISOTROPIC, dataset, plans

SPEC, _ = from_nnunet(
    plans(ISOTROPIC), dataset(("liver", "aorta")), configuration="3d_fullres", name="m"
)


def test_every_choice_has_a_planner() -> None:
    planners = [make_planner(name, SPEC) for name in WINDOWS]
    assert len(set(planners)) == len(WINDOWS)
    assert make_planner("dense", SPEC) is dense


def test_a_network_of_one_class_runs_all_over_the_body_instead_of_being_thinned() -> None:
    alone, _ = from_nnunet(
        plans(ISOTROPIC), dataset(("liver",)), configuration="3d_fullres", name="m"
    )
    assert "guided" in make_planner("flare22", alone).__qualname__
    assert "flare22" in make_planner("flare22", SPEC).__qualname__


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(InputError, match=f"windows 'fast'; expected one of {WINDOWS[0]}"):
        make_planner("fast", SPEC)


def test_a_stage_that_sees_hosts_only_has_windows_over_them_only() -> None:
    z, y, x = SPEC.patch
    seen = np.full((z, 3 * y, 6 * x), NOTHING, np.float32)
    seen[:, y : 2 * y, :x] = 0.5
    starts: list[Shape] = []

    def run_window(start: Shape, **_: object) -> WindowLogits:
        starts.append(start)
        return WindowLogits(np.zeros((len(SPEC.classes), *SPEC.patch), np.float32))

    whole = tuple(slice(0, size) for size in seen.shape)
    planner = make_planner("guided", replace(SPEC, relative_to=("liver",)))
    planner(Canvas(seen, whole, SPEC.patch), run_window)
    assert starts
    assert all(start[2] <= x // 2 for start in starts)
