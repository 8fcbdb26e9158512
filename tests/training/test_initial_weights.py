"""Beginning from a trained model's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.distill import widened
from nnstudent.bundle.bundle import Model, open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.network import build, unique_weights
from nnstudent.bundle.spec import Architecture
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


def _architecture(
    model: Model, *, times: int = 1, stages: int = 2, convolutions: int | None = None
) -> Architecture:
    """The model's architecture, wider, with another depth, or with shorter stages."""
    architecture = model.networks[0].spec.architecture
    kwargs = dict(architecture.kwargs)
    features = [times * number for number in kwargs["features_per_stage"]]
    kwargs["features_per_stage"] = [features[min(k, 1)] for k in range(stages)]
    kwargs["n_stages"] = stages
    for key, value in (("kernel_sizes", [3, 3, 3]), ("strides", [2, 2, 2])):
        kwargs[key] = [*kwargs[key][:stages], *[value] * (stages - 2)]
    for key, count in (("n_conv_per_stage", stages), ("n_conv_per_stage_decoder", stages - 1)):
        given = convolutions or max(np.atleast_1d(kwargs[key]))
        kwargs[key] = [int(given)] * count
    return replace(architecture, kwargs=kwargs)


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
    deeper = build(replace(light.networks[0].spec, architecture=_architecture(light, stages=3)))
    with pytest.raises(InputError, match="is another network"):
        load_start(deeper, light, light.networks[0].spec.classes)
    network = light.networks[0]
    odd = network.members[0].weights() | {"encoder.attention.weight": np.zeros(3, np.float32)}
    other = replace(network, members=(replace(network.members[0], weights=lambda: odd),))
    with pytest.raises(InputError, match="1 tensor that this recipe's lacks"):
        load_start(build(network.spec), replace(light, networks=(other,)), network.spec.classes)
    with pytest.raises(InputError, match="none of which is to be learned"):
        load_start(build(light.networks[0].spec), light, ["background", "spot"])


def test_whether_a_recipe_fits_a_model_is_known_before_a_training(light: Model) -> None:
    recipe = tiny_recipe()
    check_start(recipe, light)
    network = recipe.network
    with pytest.raises(InputError, match="is another network"):
        check_start(replace(recipe, network=replace(network, features=(8, 24))), light)
    for other in (
        replace(network, features=(4, 8)),
        replace(network, encoder_convolutions=(1, 2)),
    ):
        check_start(replace(recipe, network=other), light)
    with pytest.raises(InputError, match="none of which is to be learned"):
        check_start(recipe, light, ["spot"])


def test_a_narrower_network_starts_with_evenly_spaced_channels(
    light: Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = light.networks[0]
    narrow = build(network.spec)
    load_start(narrow, light, network.spec.classes)
    wide_spec = replace(network.spec, architecture=_architecture(light, times=3))
    given = narrow.state_dict()
    wide_weights = {
        name: widened(given[name], tuple(tensor.shape), name=name).numpy()
        for name, tensor in build(wide_spec).state_dict().items()
    }
    member = replace(network.members[0], weights=lambda: wide_weights)
    wide = replace(light, networks=(replace(network, spec=wide_spec, members=(member,)),))
    # The wide network has every channel three times and computes the same, so a third of it does.
    again = build(network.spec)
    caplog.clear()
    load_start(again, wide, network.spec.classes)
    assert caplog.messages[0].endswith("taken over; its channels are thinned evenly")
    window = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(again(window), narrow(window), rtol=1e-4, atol=1e-4)


def test_further_convolutions_of_a_stage_are_left_out_and_named(
    light: Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    spec = light.networks[0].spec
    lean = build(replace(spec, architecture=_architecture(light, convolutions=1)))
    load_start(lean, light, spec.classes)
    whole = build(spec)
    load_start(whole, light, spec.classes)
    left_out = sum(
        name.endswith(".conv.weight")
        for name in set(unique_weights(whole, whole.state_dict()))
        - set(unique_weights(lean, lean.state_dict()))
    )
    assert left_out > 0
    assert f"{left_out} convolution" in caplog.messages[0]
    torch.testing.assert_close(
        lean.encoder.stages[1][0].convs[0].conv.weight,
        whole.encoder.stages[1][0].convs[0].conv.weight,
    )


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


def test_of_networks_with_the_same_classes_the_one_that_sees_scans_alike(light: Model) -> None:
    organs = light.networks[0]
    stage = replace(organs, spec=replace(organs.spec, relative_to=("liver",)))
    module = build(organs.spec)
    for networks, hosts in (
        ((replace(organs, members=()), stage), ("liver",)),
        ((replace(stage, members=()), organs), ()),
    ):
        load_start(module, replace(light, networks=networks), organs.spec.classes, hosts=hosts)
