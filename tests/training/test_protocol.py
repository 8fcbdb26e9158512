from __future__ import annotations

import json

import pytest

from nnstudent.io.atomic import write_json
from nnstudent.machine import environment
from nnstudent.training.protocol import FILE, record_training
from nnstudent.training.task import organ_task

pytest.importorskip("nnunetv2", reason="training needs the extra [train]")


def test_what_is_trained_is_recorded(tmp_path, balls, tiny):
    task = organ_task(balls, tiny, folds=2)
    record_training(tmp_path, task, start=None, threads=2)
    found = json.loads((tmp_path / FILE).read_text())
    assert found["recipe"] == json.loads(json.dumps(tiny.to_dict()))
    assert (found["cases"], found["folds"]) == (len(task.cases), 2)
    assert (found["initialization"], found["threads"]) == ("random", 2)
    assert found["parameters"] > 1000
    assert found["gflop"] > 0.001
    assert found["environments"] == [environment()]


def test_a_training_that_goes_on_elsewhere_names_both_machines(tmp_path, balls, tiny):
    task = organ_task(balls, tiny, folds=2)
    record_training(tmp_path, task, start=None, threads=None)
    found = json.loads((tmp_path / FILE).read_text())
    elsewhere = found["environments"][0] | {"processor": "another"}
    write_json(tmp_path / FILE, found | {"environments": [elsewhere]})
    for _ in range(2):
        record_training(tmp_path, task, start=None, threads=None)
        machines = json.loads((tmp_path / FILE).read_text())["environments"]
        assert [machine["processor"] for machine in machines] == [
            "another",
            environment()["processor"],
        ]


def test_the_environment_is_that_of_this_machine():
    found = environment()
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0.1
    assert found["packages"]["numpy"][0].isdigit()
