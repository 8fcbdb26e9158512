"""Where a cascade's second stage looks, and what its word changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.errors import InputError
from nnstudent.inference.cascade import box_around, merge_second_stage
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pseudo.teacher import open_teacher
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

sizes = st.tuples(*[st.integers(4, 24)] * 3)
spacings = st.tuples(*[st.floats(0.5, 5, allow_subnormal=False)] * 3)


@given(
    data=st.data(),
    shape=sizes,
    spacing=spacings,
    near=st.floats(0, 30, allow_subnormal=False),
    least=st.tuples(*[st.floats(0, 60, allow_subnormal=False)] * 3),
)
def test_the_box_holds_all_that_was_found_with_its_margin(data, shape, spacing, near, least):
    labels = np.zeros(shape, np.uint8)
    spots = data.draw(
        st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), min_size=1, max_size=4)
    )
    for number, spot in enumerate(spots):
        labels[spot] = (3, 5)[number % 2]
    box = box_around(labels, {3, 5}, spacing_mm=spacing, context_mm=near, least_mm=least)
    assert box is not None
    for axis, part in enumerate(box):
        assert 0 <= part.start < part.stop <= shape[axis]
        first, last = (edge(spot[axis] for spot in spots) for edge in (min, max))
        assert part.start == 0 or (first - part.start) * spacing[axis] >= near
        assert part.stop == shape[axis] or (part.stop - 1 - last) * spacing[axis] >= near
        assert (
            part.stop - part.start == shape[axis]
            or (part.stop - part.start) * spacing[axis] >= least[axis] - 1e-6
        )


def test_there_is_no_box_where_nothing_was_found():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 7
    assert (
        box_around(labels, {3, 5}, spacing_mm=(1, 1, 1), context_mm=5, least_mm=(0, 0, 0)) is None
    )


def test_in_its_part_the_second_stage_decides_on_its_classes():
    first = np.zeros((3, 4, 4), np.uint8)
    first[1, 1, :] = 3  # of the second stage's; confirmed in part
    first[2, 2, 1:3] = 9  # of another class; what the second stage finds there lies over it
    said = np.zeros((3, 4, 4), np.uint8)
    said[1, 1, 0] = 3
    said[2, 2, 2] = 5
    merge_second_stage(first, said, ids={3, 5})
    expected = np.zeros_like(first)
    expected[1, 1, 0] = 3
    expected[2, 2, 1:3] = (9, 5)
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize("turned", [False, True])
def test_a_part_lies_where_it_lay(turned):
    affine = (
        np.array([[0, -2, 0, 10], [1.5, 0, 0.2, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
        if turned
        else np.diag([2.0, 1.5, 3.0, 1.0])
    )
    whole = Volume(np.arange(60).reshape(3, 4, 5), Grid((3, 4, 5), affine))
    part = whole.cropped((slice(1, 3), slice(2, 4), slice(0, 4)))
    assert part.array[1, 0, 3] == whole.array[2, 2, 3]
    np.testing.assert_allclose(part.grid.affine @ [3, 0, 1, 1], whole.grid.affine @ [3, 2, 2, 1])
    assert part.grid.shape == (2, 2, 4)


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A first stage of three classes, a second of one of them, a cascade of both."""
    at = tmp_path_factory.mktemp("cascade")
    first = make_folder(at / "first", ISOTROPIC)
    second = make_folder(at / "second", ISOTROPIC, classes=("spleen",), seed=5)
    return (
        first,
        second,
        export(first, at / "bundle", second=second, context_mm=6.0, torch_weights=False),
    )


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SRA"])
def test_a_cascade_is_the_first_stage_with_the_seconds_word_around_what_it_found(
    stages, axes, monkeypatch
):
    first, second, bundle = stages
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0), axes=axes)
    monkeypatch.setattr(
        "nnstudent.inference.cascade.box_around",
        lambda *_, **__: (slice(2, 20), slice(3, 20), slice(0, 26)),
    )
    result = Segmenter(bundle, postprocess=())(image)

    expected = Segmenter(open_model(first), postprocess=())(image).labels.reoriented()
    seen = image.reoriented().cropped((slice(2, 20), slice(3, 20), slice(0, 26)))
    alone = Segmenter(open_model(second), postprocess=())(seen)
    spleen = Segmenter(open_model(first)).taxonomy["spleen"].id
    inside = expected.array[2:20, 3:20, 0:26]
    assert (inside == spleen).any()
    assert alone.labels.array.any()
    inside[inside == spleen] = 0
    inside[alone.labels.array > 0] = spleen
    agreement = float(np.mean(result.labels.reoriented().array == expected.array))
    assert agreement > 0.999  # the exported weights are float16
    assert result.windows["run"] > Segmenter(open_model(first))(image).windows["run"]


def test_where_the_first_stage_finds_nothing_the_second_is_not_asked(stages, tmp_path):
    air = Volume(
        np.full((30, 26, 34), -1000, np.int16), Grid((30, 26, 34), np.diag([4.0, 4.0, 5.0, 1.0]))
    )
    nothing = make_folder(tmp_path / "nothing", ISOTROPIC, seed=2)
    bundle = export(nothing, tmp_path / "bundle", second=stages[1], torch_weights=False)
    segment = Segmenter(bundle, windows="guided", postprocess=())
    assert segment(air).windows["run"] == 0
    assert not segment(air).labels.array.any()


def test_a_second_stage_of_other_classes_is_refused(stages, tmp_path):
    heart = make_folder(tmp_path / "heart", ISOTROPIC, classes=("pancreas",))
    with pytest.raises(InputError, match=r"pancreas, of which .* does not segment all"):
        export(stages[0], tmp_path / "bundle", second=heart)
    with pytest.raises(InputError, match=r"context_mm = -1\.0; expected a length in mm"):
        export(stages[0], tmp_path / "bundle", second=stages[1], context_mm=-1.0)


def test_a_cascade_teaches_by_its_first_stage(stages):
    teacher = open_teacher(stages[2], flare23())
    assert [any(ids) for ids in teacher.channel_ids] == [True, False]
