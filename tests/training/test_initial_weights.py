"""Beginning from a trained model's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.network import build
from nnstudent.cohort.cohort import Cohort
from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pipeline.preset import Preset
from nnstudent.training.initial_weights import check_start, describe_start, load_start
from nnstudent.training.task import organ_task, student_task
from nnstudent.training.teach import teach
from nnstudent.training.train import train
from tests.training.conftest import ORGANS, ball_scan, tiny_recipe


@pytest.fixture(scope="module")
def taught(balls: Cohort, preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teachers")
    return teach(balls, out, preset.teaching, target="organs", folds=[0]).models[0]


@pytest.fixture(scope="module")
def light(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The model as a bundle that has no weights but its graph's."""
    return open_model(
        export(taught, tmp_path_factory.mktemp("bundle") / "light", torch_weights=False, fold=0)
    )


def test_weights_are_read_from_a_graph(taught: Path, light: Model) -> None:
    theirs = open_model(taught, fold=0).networks[0].members[0].weights()
    for name, values in light.networks[0].members[0].weights().items():
        np.testing.assert_allclose(
            values, theirs[name], atol=2e-3, rtol=1e-3
        )  # the graph has them in fp16


def test_everything_is_taken_but_classes_it_does_not_have(
    light: Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    spec = light.networks[0].spec
    classes = ["background", "spot", *reversed(spec.foreground)]
    module = build(spec)
    head = torch.nn.Conv3d(module.decoder.seg_layers[-1].in_channels, len(classes), 1)
    module.decoder.seg_layers[-1] = head
    before = head.weight.detach().clone()
    load_start(module, light, classes)
    assert caplog.messages == [
        f"starts from {light.path}: {len(spec.foreground)} classes taken over; "
        "new, from random weights: spot"
    ]
    source = build(spec)
    load_start(source, light, spec.classes)
    own = source.decoder.seg_layers[-1].weight
    for channel, name in enumerate(classes):
        expected = before[channel] if name == "spot" else own[spec.classes.index(name)]
        torch.testing.assert_close(head.weight[channel], expected)
    torch.testing.assert_close(
        module.encoder.stages[0][0].convs[0].conv.weight,
        source.encoder.stages[0][0].convs[0].conv.weight,
    )


def test_a_training_begins_where_the_model_ended(
    balls: Cohort, light: Model, tmp_path: Path
) -> None:
    task = organ_task(balls, tiny_recipe(lr=0.0, epochs=1), folds=1)
    model = train(task, tmp_path / "model", tmp_path / "work", start=light).model
    weights = open_model(model).networks[0].members[0].weights()
    for name, values in light.networks[0].members[0].weights().items():
        np.testing.assert_array_equal(weights[name], values)
    assert train(task, tmp_path / "model", tmp_path / "work", start=light).fresh == ()
    assert train(task, tmp_path / "model", tmp_path / "work").fresh == (
        0,
    )  # from chance is another model


def test_another_network_is_refused_in_one_line(
    balls: Cohort, light: Model, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    wider = replace(recipe, network=replace(recipe.network, features=(8, 24)))
    with pytest.raises(InputError, match="is another network"):
        train(organ_task(balls, wider, folds=1), tmp_path / "model", tmp_path / "work", start=light)
    leaner = replace(recipe, network=replace(recipe.network, encoder_convolutions=(1, 2)))
    with pytest.raises(InputError, match="tensors that this recipe's lacks"):
        train(
            organ_task(balls, leaner, folds=1), tmp_path / "model", tmp_path / "work", start=light
        )
    with pytest.raises(InputError, match="none of which is to be learned"):
        load_start(build(light.networks[0].spec), light, ["background", "spot"])


def test_whether_a_recipe_fits_a_model_is_known_before_a_training(light: Model) -> None:
    recipe = tiny_recipe()
    check_start(recipe, light)
    network = recipe.network
    for other in (
        replace(network, features=(8, 24)),
        replace(network, encoder_convolutions=(1, 2)),
    ):
        with pytest.raises(InputError, match="is another network"):
            check_start(replace(recipe, network=other), light)


def test_the_network_of_several_that_has_most_of_the_classes(light: Model) -> None:
    spec = light.networks[0].spec
    lacking = replace(spec, classes=("background", "spot"))
    other = replace(light.networks[0], spec=lacking, members=())
    module = build(spec)
    load_start(module, replace(light, networks=(other, light.networks[0])), spec.classes)
    said = describe_start(light, ["liver", "spot"], ["liver", "spleen"])
    assert said.endswith(
        "1 class taken over; new, from random weights: spleen; not to be learned any more: spot"
    )


def test_a_class_is_added_to_a_model(balls: Cohort, tmp_path: Path) -> None:
    quick = {"lr": 1e-2, "iterations": 12, "validation_batches": 1}
    truth = ball_scan(99)

    def learned(
        name: str, *, only: list[str], epochs: int, start: Model | None
    ) -> dict[str, float]:
        torch.manual_seed(0)
        task = student_task(
            replace(balls, cases=balls.annotated_with(ORGANS)),
            tiny_recipe(epochs=epochs, **quick),
            organs_only=True,
            pseudo={},
            only=only,
        )
        model = train(task, tmp_path / name, tmp_path / "work", start=start).model
        labels = Segmenter(model, postprocess=())(truth[0]).labels.array
        ids = {one: balls.taxonomy[one].id for one in sorted(ORGANS)}
        return {one: dsc(labels == id, truth[1].array == id) for one, id in ids.items()}

    before = learned("left", only=["left_ball"], epochs=5, start=None)
    assert before["left_ball"] > 0.6
    assert before["right_ball"] == 0
    both = sorted(ORGANS)
    after = learned("both", only=both, epochs=3, start=open_model(tmp_path / "left"))
    assert after["left_ball"] > 0.6
    assert after["right_ball"] > 0.3
