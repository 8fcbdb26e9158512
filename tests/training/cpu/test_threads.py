from __future__ import annotations

from nnstudent.training.cpu.threads import Tuner, choices


def _train(tuner: Tuner, used: list[int], seconds: dict[int, float], steps: int) -> None:
    for _ in range(steps):
        tuner.step(seconds[used[-1]])


def test_it_settles_on_the_quickest_and_looks_again() -> None:
    used: list[int] = []
    tuner = Tuner((4, 2), used.append, every_seconds=10.0)
    _train(tuner, used, {4: 1.0, 2: 0.4}, 6)
    assert used[-1] == 2
    _train(tuner, used, {4: 1.0, 2: 0.4}, 20)
    assert used[-1] == 2
    _train(tuner, used, {4: 0.1, 2: 0.4}, 30)  # the machine is free now
    assert used[-1] == 4


def test_a_slow_first_step_decides_nothing() -> None:
    used: list[int] = []
    tuner = Tuner((4, 2), used.append)
    for seconds in (9.0, 0.1, 0.1, 0.3, 0.3, 0.3):
        tuner.step(seconds)
    assert used[-1] == 4


def test_one_core_is_no_choice() -> None:
    used: list[int] = []
    tuner = Tuner(choices(1), used.append, every_seconds=0.0)
    _train(tuner, used, {1: 1.0}, 10)
    assert set(used) == {1}
