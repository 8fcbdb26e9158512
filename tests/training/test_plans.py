from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset
from nnstudent.taxonomy import flare23
from nnstudent.training.plans import Fingerprint, check_plans, make_dataset_json, make_plans

FINGERPRINT = Fingerprint(
    {
        "mean": 50.0,
        "std": 100.0,
        "percentile_00_5": -900.0,
        "percentile_99_5": 300.0,
        "median": 40.0,
        "min": -1000.0,
        "max": 1500.0,
    },
    (5.0, 1.0, 1.0),
    (60, 300, 300),
    (1000.0, 100.0, 10.0),
)


def written(preset: str = "laptop") -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = load_preset(preset).student
    plans = make_plans(recipe, FINGERPRINT, dataset_name="Dataset001_student")
    return copy.deepcopy(plans), make_dataset_json(flare23(), ["liver", "spleen"], cases=3)


@pytest.mark.parametrize("preset", ["paper", "laptop", "demo"])
def test_our_own_plans_pass(preset: str) -> None:
    check_plans(*written(preset), where=Path("prepared.json"))


def configured(
    change: Callable[[dict[str, Any]], Any],
) -> Callable[[dict[str, Any], dict[str, Any]], Any]:
    return lambda plans, dataset: change(plans["configurations"]["3d_fullres"])


@pytest.mark.parametrize(
    "change",
    [
        lambda plans, dataset: plans.update(image_reader_writer="Tiff3DIO"),
        lambda plans, dataset: plans.update(label_manager="os"),
        lambda plans, dataset: plans.pop("label_manager"),
        lambda plans, dataset: dataset.update(overwrite_image_reader_writer="x"),
        lambda plans, dataset: plans.update(configurations=[1]),
        configured(lambda settings: settings.update(preprocessor_name="os")),
        configured(lambda settings: settings.update(normalization_schemes=[])),
        configured(lambda settings: settings.update(normalization_schemes=["CTNormalization"] * 2)),
        configured(lambda settings: settings.update(resampling_fn_seg="system")),
        configured(
            lambda settings: settings["architecture"].update(network_class_name="os.system")
        ),
        configured(
            lambda settings: settings["architecture"].update(_kw_requires_import=["n_stages"])
        ),
        configured(
            lambda settings: settings["architecture"]["arch_kwargs"].update(nonlin="torch.hub.load")
        ),
        configured(lambda settings: settings["architecture"].update(arch_kwargs=3)),
        configured(lambda settings: settings.update(architecture=None)),
    ],
)
def test_plans_that_name_something_else_are_refused(
    change: Callable[[dict[str, Any], dict[str, Any]], Any],
) -> None:
    plans, dataset = written()
    change(plans, dataset)
    with pytest.raises(InputError, match=r"^prepared\.json: ") as caught:
        check_plans(plans, dataset, where=Path("prepared.json"))
    assert "\n" not in str(caught.value)
