from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle import quantise, write
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.graph import read
from nnstudent.cli import main
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.inference.calibration import sample_cohort, windows
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import write_image, write_labels
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.inference.conftest import blobs

TABLE = flare23()
ORGANS = ("liver", "spleen", "aorta")
SHAPE, SPACING = (30, 50, 56), (5.0, 3.0, 3.0)


def make_case(
    folder: Path, seed: int, *, annotated: tuple[str, ...] = ORGANS, axes: str = "LPS"
) -> Case:
    """A scan in which each organ is a box of its own density."""
    image = blobs(SHAPE, SPACING, seed=seed)
    labels = np.zeros(SHAPE, np.uint8)
    boxes = {
        "liver": np.s_[5:20, 8:24, 8:24],
        "spleen": np.s_[14:26, 28:44, 10:26],
        "aorta": np.s_[2:28, 20:32, 36:48],
    }
    for name, box in boxes.items():
        labels[box] = TABLE[name].id
        image.array[box] = 50 * TABLE[name].id
    if "aorta" not in annotated:
        labels[labels == TABLE["aorta"].id] = 0
    id = f"case{seed}"
    write_image(folder / f"{id}.nii.gz", image.reoriented(axes))
    if annotated:
        write_labels(folder / f"{id}_label.nii.gz", Volume(labels, image.grid).reoriented(axes))
    return Case(
        id,
        folder / f"{id}.nii.gz",
        folder / f"{id}_label.nii.gz" if annotated else None,
        frozenset(annotated),
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    cases = [make_case(folder, seed) for seed in (1, 2, 3)]
    return Cohort(
        TABLE,
        (
            *cases,
            make_case(folder, 4, annotated=()),
            make_case(folder, 5, annotated=("liver", "spleen")),
        ),
    )


@pytest.fixture(scope="module")
def spec(isotropic):
    return open_model(isotropic).networks[0].spec


def test_the_truth_of_a_window_is_that_of_its_voxels(cohort, spec):
    samples = list(windows(cohort["case1"], spec, TABLE))
    assert {1, 2, 3} <= {int(channel) for sample in samples for channel in np.unique(sample.truth)}
    scale = spec.normalization
    for sample in samples:
        assert sample.window.shape == sample.truth.shape == spec.patch
        for channel, name in enumerate(spec.classes[1:], start=1):
            inside = sample.truth == channel
            if inside.sum() > 50:
                hu = np.median(sample.window[inside]) * scale.std + scale.mean
                assert hu == pytest.approx(50 * TABLE[name].id, abs=15)


def test_only_annotated_classes_have_a_truth(cohort, spec):
    samples = list(windows(cohort["case5"], spec, TABLE))
    assert samples[0].annotated == {1, 2}
    assert all(sample.truth is None for sample in windows(cohort["case4"], spec, TABLE))


def test_what_is_compared_on_is_not_calibrated_on(cohort, spec):
    calibration, held = sample_cohort(cohort, spec)
    assert all(sample.truth is not None and sample.annotated == {1, 2, 3} for sample in held), (
        "the best annotated are held back"
    )
    seen = {sample.window.tobytes() for sample in calibration}
    assert held
    assert not any(sample.window.tobytes() in seen for sample in held)
    again, _ = sample_cohort(cohort, spec)
    assert [sample.window.tobytes() for sample in again] == [
        sample.window.tobytes() for sample in calibration
    ]


def test_a_cohort_that_cannot_tell_the_loss(cohort, spec):
    unlabeled = tuple(Case(f"{case.id}x", case.image) for case in cohort)
    for cases in (cohort.cases[:1], unlabeled):
        with pytest.raises(InputError, match="two or more, one of them labeled"):
            sample_cohort(Cohort(TABLE, cases), spec)


@pytest.fixture(scope="module")
def with_int8(isotropic, cohort, tmp_path_factory) -> Path:
    pytest.importorskip("nncf", reason="quantising needs the extra [int8]")
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # weights from a seed find nothing, so that what they lose means nothing
        patch.setattr(quantise, "MEAN_LOSS", 1.0)
        patch.setattr(quantise, "WORST_LOSS", 1.0)
        return export(
            isotropic,
            tmp_path_factory.mktemp("int8") / "bundle",
            int8=partial(sample_cohort, cohort),
        )


def test_int8_is_in_the_bundle_and_says_nearly_the_same(with_int8):
    model = open_model(with_int8)
    network = model.networks[0]
    assert network.members[0].int8 == with_int8 / "networks" / "isotropic.int8.xml"
    constants = with_int8 / "networks"
    assert (constants / "isotropic.int8.bin").stat().st_size < 0.65 * (
        constants / "isotropic.bin"
    ).stat().st_size
    said = network.spec.source["int8"]
    assert "calibrated on" in said
    assert said in (with_int8 / "card.md").read_text()
    image = blobs((20, 26, 30), (5.0, 4.0, 4.0))
    exact, quantised = (Segmenter(model, precision=precision) for precision in ("fp32", "int8"))
    assert quantised.engine_of(0, 0).precision == "int8"
    a, b = exact.predict(image).values, quantised.predict(image).values
    assert not np.array_equal(a, b)
    assert (a.argmax(axis=0) == b.argmax(axis=0)).mean() > 0.85
    assert exact(image).model == quantised(image).model


def test_two_products_fit_in_16_bits(with_int8):
    """On AVX2, pairs of an activation (to 255) and a weight are summed in 16 bits."""
    network = open_model(with_int8).networks[0]
    nodes = read(network.members[0].int8, network.spec).get_ops()
    arrays = [node.data for node in nodes if node.get_type_name() == "Constant"]
    kernels = [array for array in arrays if array.dtype in (np.int8, np.uint8) and array.ndim == 5]
    assert len(kernels) > 5
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) * 255 * 2 < 2**15


def test_transposed_convolutions_take_what_openvino_runs_in_int8(with_int8):
    network = open_model(with_int8).networks[0]
    nodes = read(network.members[0].int8, network.spec).get_ops()
    transposed = [node for node in nodes if node.get_type_name() == "ConvolutionBackpropData"]
    assert transposed
    for node in transposed:
        ranges = node.input(0).get_source_output().get_node()
        assert ranges.get_type_name() == "FakeQuantize"
        low, high = (ranges.input(k).get_source_output().get_node().data.item() for k in (1, 2))
        assert low == pytest.approx(-high * 128 / 127, rel=1e-3)
        (source,) = ranges.input(0).get_source_output().get_target_inputs()
        assert source.get_node().get_friendly_name() == ranges.get_friendly_name()


def test_transposed_convolutions_stay_in_floating_point_where_int8_costs_too_much(
    isotropic, cohort, tmp_path, monkeypatch
):
    pytest.importorskip("nncf", reason="quantising needs the extra [int8]")
    losses = [quantise.Loss({"liver": loss}, windows=4) for loss in (0.5, 0.001)]
    monkeypatch.setattr(write, "compare", lambda *_, **__: losses.pop(0))
    bundle = export(isotropic, tmp_path / "bundle", int8=partial(sample_cohort, cohort))
    network = open_model(bundle).networks[0]
    assert "0.0010" in network.spec.source["int8"]
    nodes = read(network.members[0].int8, network.spec).get_ops()
    for node in nodes:
        if node.get_type_name() == "ConvolutionBackpropData":
            ranges = node.input(0).get_source_output().get_node()
            low, high = (ranges.input(k).get_source_output().get_node().data.item() for k in (1, 2))
            assert -low < 0.5 * high  # a leaky ReLU gives little below 0


def test_a_loss_beyond_the_limit_is_refused_with_the_figures(
    isotropic, cohort, tmp_path, monkeypatch, capfd
):
    pytest.importorskip("nncf", reason="quantising needs the extra [int8]")
    monkeypatch.setattr(quantise, "MEAN_LOSS", -1.0)
    write_cohort(tmp_path / "cohort", cohort)
    arguments = ["export", str(isotropic), "-o", str(tmp_path / "b")]
    assert main([*arguments, "--int8", "--calibration", str(tmp_path / "cohort")]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert "DSC falls by" in line
    assert "held-back windows; allowed are" in line
    assert not (tmp_path / "b").exists()
    assert main([*arguments, "--int8"]) == 2
    assert "go together" in capfd.readouterr().err


def test_what_is_lost_is_counted_by_class():
    loss = quantise.Loss({"liver": 0.001, "aorta": 0.02}, windows=4)
    assert (loss.mean, loss.worst, loss.bearable) == (pytest.approx(0.0105), "aorta", False)
    assert quantise.Loss({"liver": 0.001, "aorta": -0.02}, windows=4).bearable
    with pytest.raises(InputError, match="use more labeled cases"):
        quantise.Loss({}, windows=4)
