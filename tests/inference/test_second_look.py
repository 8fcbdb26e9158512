"""A second look on a finer grid: the mean of both looks decides, and in the right place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.grids import add_second_look
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.labels.probabilities import NetworkProbabilities
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.pipelining import run_stages
from nnstudent.inference.second_look import MARGIN_MM, finer, mean_of_looks
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pseudo.teacher import open_teacher
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

FINE = (2.0, 1.5, 1.5)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A bundle that looks once."""
    at = tmp_path_factory.mktemp("look")
    folder = make_folder(at / "organs", ISOTROPIC)
    return export(folder, at / "once", taxonomy=flare23(), torch_weights=False)


@pytest.fixture(scope="module")
def twice(once, tmp_path_factory):
    """The same, which looks again on a finer grid."""
    return add_second_look(once, tmp_path_factory.mktemp("look") / "twice", finer_mm=FINE)


def ramp(frame, *, slope):
    """Scores whose probabilities of two classes change linearly along the network's axes."""
    shape = frame.shape
    along = [
        (np.arange(n) + 0.5) * ((part.stop - part.start) / n) - 0.5 + part.start
        for n, part in zip(shape, frame.box, strict=True)
    ]
    value = sum(
        s * place.reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (s, place) in enumerate(zip(slope, along, strict=True))
    )
    values = np.broadcast_to(0.5 + value, shape).astype(np.float32)
    return np.stack([1 - values, values])


@settings(max_examples=25)
@given(
    low=st.tuples(*[st.integers(0, 6)] * 3),
    size=st.tuples(*[st.integers(8, 14)] * 3),
    axes=st.sampled_from(["RAS", "LPS", "SRP"]),
)
def test_the_first_look_is_carried_to_where_the_second_one_lies(once, low, size, axes):
    spec = open_model(once).networks[0].spec
    classes = spec.classes[:2]
    affine = np.diag([1.6, 1.7, 2.3, 1.0])
    affine[:3, 3] = (-20, 15, 40)
    image = Volume(np.ones((22, 24, 26), np.int16), Grid((22, 24, 26), affine))
    box = tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))
    part = image.cropped(box)
    _, frame = preprocess(image.reoriented(axes), spec)
    _, near = preprocess(part, finer(replace(spec, finer_mm=FINE)))
    slope = (0.008, -0.006, 0.005)
    before = ramp(frame, slope=slope)
    offset = sum(s * start for s, start in zip(slope, low, strict=True))
    now = ramp(near, slope=slope)
    now += np.array([-offset, offset], np.float32).reshape(2, 1, 1, 1)

    def scores(values, frame):
        return ClassScores(
            values, "probabilities", classes, (0, 1), FINE, spec.score_resampling, frame
        )

    kept = NetworkProbabilities(spec, frame, classes=classes)
    kept.add(scores(before, frame))
    (both,) = mean_of_looks(scores(now, near), kept, linear=False)
    kept.close()
    # A linear function is its own interpolation, except beyond the outermost voxel centers.
    inner = (slice(None), *[slice(2, -2)] * 3)
    np.testing.assert_allclose(both.values[inner], now[inner], atol=2.1 / 255)


def test_slabs_say_the_same_as_all_at_once(once):
    spec = open_model(once).networks[0].spec
    image = blobs((40, 20, 22), (1.5, 2.0, 2.0))
    _, frame = preprocess(image, spec)
    _, near = preprocess(image, finer(replace(spec, finer_mm=(0.7, 1.5, 1.5))))
    rng = np.random.default_rng(1)

    def scores(frame):
        values = rng.standard_normal((len(spec.classes), *frame.shape)).astype(np.float32)
        ids = tuple(range(len(spec.classes)))
        return ClassScores(values, "logits", spec.classes, ids, FINE, spec.score_resampling, frame)

    kept = NetworkProbabilities(spec, frame, classes=spec.classes)
    kept.add(scores(frame))
    second = scores(near)
    was = second.values.copy()
    (whole,) = mean_of_looks(second, kept, linear=False)
    slabs = list(mean_of_looks(second, kept, linear=True))
    assert len(slabs) > 2
    end = 0
    for slab in slabs:
        assert slab.slab
        assert slab.first == max(0, end - 1)
        end = slab.first + slab.values.shape[1]
        np.testing.assert_allclose(slab.values, whole.values[:, slab.first : end], atol=1e-6)
    assert end == near.shape[0]
    np.testing.assert_allclose(whole.values.sum(axis=0), 1, atol=0.02)
    np.testing.assert_array_equal(second.values, was)
    kept.close()


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SAL"])
def test_the_mean_of_both_looks_decides_around_what_the_first_one_found(once, twice, axes):
    image = blobs((44, 40, 42), (3.0, 2.0, 2.0), axes=axes)
    result = Segmenter(twice, windows="dense", postprocess=())(image)
    model = open_model(once)
    spec = model.networks[0].spec
    fine = replace(
        model, networks=(replace(model.networks[0], spec=replace(spec, spacing_mm=FINE)),)
    )
    looks = [Segmenter(one, windows="dense", postprocess=()) for one in (model, fine)]
    kept = [run_stages(one.stages(image, keep=True)).probabilities for one in looks]
    mean = np.stack(
        [sum(maps.probability(name).array.astype(int) for maps in kept) for name in spec.classes]
    )
    ids = np.array([0, *(flare23()[name].id for name in spec.foreground)], np.uint8)
    expected = ids[mean.argmax(axis=0)]
    first = looks[0](image).labels.array
    for maps in kept:
        maps.close()
    assert not np.array_equal(result.labels.array, first)
    # The windows of the second look lie otherwise on its part than on the whole image.
    assert (result.labels.array == expected).mean() > 0.97
    assert (result.labels.array == expected).mean() > (first == expected).mean()


def test_short_of_memory_the_labels_stay_the_same(twice):
    image = blobs((70, 40, 42), (2.0, 2.0, 2.0))
    roomy = Segmenter(twice, windows="dense")
    whole = roomy(image)
    plan = roomy.plan(image.grid, image=image)
    assert plan.planes is None
    network = roomy.model.networks[0]
    tight = Segmenter(twice, windows="dense")
    slabs = replace(plan, planes=network.spec.patch[0] + 1)
    tight.plan = lambda *_, **__: slabs
    np.testing.assert_array_equal(tight(image).labels.array, whole.labels.array)
    in_file = replace(slabs, in_file=True)
    tight.plan = lambda *_, **__: in_file
    np.testing.assert_array_equal(tight(image).labels.array, whole.labels.array)


def test_where_nothing_was_found_it_does_not_look_again(tmp_path):
    air = Volume(np.full((30, 26, 34), -1000, np.int16), Grid((30, 26, 34), np.diag([4, 4, 5, 1])))
    nothing = export(
        make_folder(tmp_path / "nothing", ISOTROPIC, seed=2),
        tmp_path / "bundle",
        torch_weights=False,
    )
    twice = add_second_look(nothing, tmp_path / "twice", finer_mm=FINE)
    result = Segmenter(twice, windows="guided", postprocess=())(air)
    assert result.windows["run"] == 0
    assert not result.labels.array.any()


def test_a_second_look_is_part_of_the_models_identity_and_card(once, twice):
    before, after = open_model(once), open_model(twice)
    assert before.hash != after.hash
    spec = after.networks[0].spec
    assert spec.finer_mm == FINE
    assert NetworkSpec.from_dict(spec.to_dict()) == spec
    assert "finer_mm" not in before.networks[0].spec.to_dict()
    assert "- looks again at 2, 1.5, 1.5 mm" in (twice / "card.md").read_text()
    assert finer(spec).spacing_mm == FINE
    assert finer(spec).context_mm == MARGIN_MM
    assert finer(spec).finer_mm is None


def test_it_teaches_by_its_first_look(once, twice):
    image = blobs((30, 28, 26), (3.0, 3.0, 3.0))
    labels = [open_teacher(path, flare23()).predict(image).labels for path in (once, twice)]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regions": True}, "has classes that overlap"),
        ({"orientation": "stored"}, "takes images as they are stored"),
        ({"context_mm": 20.0}, "is the second stage of another one"),
        ({"finer_mm": (0.0, 1.0, 1.0)}, "expected three positive lengths"),
    ],
)
def test_a_network_that_cannot_look_twice_is_refused(once, changes, said):
    spec = open_model(once).networks[0].spec
    with pytest.raises(InputError, match=said):
        replace(spec, **{"finer_mm": FINE, **changes})


def test_the_command_writes_the_bundle_again(once, tmp_path, capsys):
    words = ["export", str(once), "-o", str(tmp_path / "out"), "--finer-grid"]
    assert main([*words, "2,1.5,1.5"]) == 0
    model = open_model(tmp_path / "out")
    assert model.networks[0].spec.finer_mm == FINE
    capsys.readouterr()
    for given_words, said in (
        (["2,1.5"], "--finer-grid 2,1.5; expected three spacings in mm"),
        (["2,1.5,1.5", "--shift", "liver=1"], "--shift"),
        (["2,1.5,1.5", "--no-torch"], "--no-torch does not go with --finer-grid"),
    ):
        assert main([*words, *given_words]) == 2
        assert said in capsys.readouterr().err
