from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnstudent.bundle.spec import Resampling
from nnstudent.errors import InputError
from nnstudent.inference.case_run import ONLY_AIR
from nnstudent.inference.grid.resample import new_shape, resample
from nnstudent.inference.segmenter import Segmenter
from nnstudent.inference.windows.guided import FAR, NEAR, foreground, guided
from nnstudent.inference.windows.sliding import dense_starts, pad
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.oracle import AIR, TISSUE, Oracle, blob, ellipsoid
from tests.phantoms import tiny_phantom

AIR_HU = -300.0
# What must be found: each organ's minimal volume, and lesions of 0.5 ml.
MINIMAL_ML = {item.id: item.minimum_ml if item.kind == "organ" else 0.5 for item in flare23()}


@st.composite
def scans(draw):
    """Bodies of any size anywhere, tilted, cut, with lungs; a table on either side; noise."""
    spacing = draw(
        st.sampled_from([(5.0, 6.0, 6.0), (4.0, 3.0, 3.0), (8.0, 5.0, 5.0), (4.0, 7.0, 2.0)])
    )
    shape = draw(st.tuples(st.integers(6, 30), st.integers(16, 48), st.integers(16, 48)))
    body = np.zeros(shape, bool)
    for _ in range(draw(st.integers(1, 3))):
        center = [draw(st.floats(-0.1, 1.1)) * n for n in shape]
        radii = [draw(st.floats(30, 250)) / mm for mm in spacing]
        body |= ellipsoid(shape, center, radii, tilt=draw(st.floats(-0.6, 0.6)))
    lung = ellipsoid(shape, [draw(st.floats(0, 1)) * n for n in shape], [60 / mm for mm in spacing])
    lung &= (
        ndimage.distance_transform_edt(np.pad(body, 1, mode="edge"), spacing)[1:-1, 1:-1, 1:-1] > 20
    )  # the chest's wall
    image = np.where(body & ~lung, TISSUE, AIR).astype(np.float32)
    pieces, _ = ndimage.label(body & ~lung)
    large = np.bincount(pieces.ravel(), minlength=2) * np.prod(spacing) / 1000 > 50
    large[0] = False
    assume(large.any())
    table = draw(st.sampled_from([None, 1, -2]))  # supine, prone
    if table is not None:
        image[:, table, 2:-2] = np.maximum(image[:, table, 2:-2], -100)
    image += np.random.default_rng(draw(st.integers(0, 9))).normal(0, 20, shape).astype(np.float32)
    return image, large[pieces], spacing


@given(
    scan=scans(),
    patch=st.tuples(st.integers(6, 16), st.integers(12, 32), st.integers(12, 32)),
    id=st.sampled_from(sorted(MINIMAL_ML)),
    where=st.floats(0, 1, exclude_max=True),
)
def test_a_blob_of_minimal_volume_anywhere_in_any_body_is_found_as_a_whole(scan, patch, id, where):
    image, body, spacing = scan
    inside = np.argwhere(body)
    voxels = max(1, round(MINIMAL_ML[id] / (np.prod(spacing) / 1000)))
    truth = id * blob(body, inside[int(where * len(inside))], voxels=voxels)
    oracle = Oracle(truth, patch)
    found = oracle.segment(image, guided(spacing_mm=spacing, air=AIR_HU))
    np.testing.assert_array_equal(found, truth)
    assert oracle.starts == sorted(set(oracle.starts))  # none twice, and never back along z
    assert len(oracle.starts) <= len(dense_starts(pad(image, patch)[0].shape, patch))


@settings(max_examples=25, deadline=None)
@given(
    scan=scans(),
    patch=st.tuples(st.integers(6, 16), st.integers(12, 32), st.integers(12, 32)),
    sees=st.sampled_from([0, 3]),
)
def test_all_of_every_body_is_seen_whatever_the_network_says(scan, patch, sees):
    image, body, spacing = scan
    oracle = Oracle(np.full(image.shape, sees), patch)
    oracle.segment(image, guided(spacing_mm=spacing, air=AIR_HU))
    _, place = pad(image, patch)
    seen = np.zeros(pad(image, patch)[0].shape, bool)
    for start in oracle.starts:
        seen[tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))] = True
    assert seen[place][body].all()


@given(first=st.integers(0, 70), length=st.integers(1, 40), patch=st.integers(8, 24))
def test_what_the_far_side_of_a_layer_cuts_is_seen_again_half_a_window_on(first, length, patch):
    image = np.full((110, 16, 16), TISSUE, np.float32)
    truth = np.zeros(image.shape, np.uint8)
    truth[first : first + length, 4:12, 4:12] = 2
    oracle = Oracle(truth, (patch, 16, 16))
    oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU))
    layers = [z for z, _, _ in oracle.starts]
    for z, after in itertools.pairwise(layers):
        cut = truth[z + patch - max(1, patch // 4) : z + patch].any()
        assert 0 < after - z <= math.ceil((NEAR if cut else FAR) * patch)


def test_empty_scan_needs_no_window():
    image = np.random.default_rng(0).normal(AIR, 30, (40, 60, 60)).astype(np.float32)
    image[:, 50, 5:55] = 100  # the table
    image[3:6, 20:23, 20:23] = 300  # something small
    oracle = Oracle(np.ones(image.shape), (16, 24, 24))
    assert not oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU)).any()
    assert oracle.starts == []


def test_air_around_a_body_and_empty_parts_of_it_cost_few_windows():
    shape, patch = (64, 96, 96), (16, 24, 24)
    body = ellipsoid(shape, (32, 30, 30), (60, 18, 18))
    image = np.where(body, TISSUE, AIR).astype(np.float32)
    truth = blob(body, (40, 30, 30), voxels=100)
    oracle = Oracle(truth, patch)
    np.testing.assert_array_equal(
        oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU)), truth
    )
    assert len(oracle.starts) < len(dense_starts(shape, patch)) / 4
    assert max(start[2] for start in oracle.starts) < 60


def test_layers_lie_closer_where_something_is():
    shape, patch = (96, 40, 40), (16, 24, 24)
    truth = np.zeros(shape, np.uint8)
    truth[10:40, 10:30, 10:30] = 3
    image = np.full(shape, TISSUE, np.float32)
    oracle = Oracle(truth, patch)
    np.testing.assert_array_equal(
        oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU)), truth
    )
    apart = np.diff(sorted({z for z, _, _ in oracle.starts}))
    assert apart[:3].max() <= 8
    assert apart[-3:].min() > 10


def test_low_odds_count_as_foreground():
    logits = np.zeros((3, 1, 1, 3), np.float32)
    logits[0] = 10
    logits[1, 0, 0] = (10, 7.1, 6.9)  # odds of 1, 0.055 and 0.045
    assert foreground(logits).ravel().tolist() == [True, True, False]


PATIENTS = {
    "as it is": lambda image, truth: (image, truth),
    "large": lambda image, truth: tuple(ndimage.zoom(one, 1.5, order=0) for one in (image, truth)),
    "off-centre": lambda image, truth: tuple(
        np.pad(one, [(0, 0), (0, 40), (30, 0)], constant_values=air)
        for one, air in ((image, AIR), (truth, 0))
    ),
    "tilted": lambda image, truth: tuple(
        ndimage.rotate(one, 25, axes, order=0, cval=air)
        for axes in [(0, 1)]
        for one, air in ((image, AIR), (truth, 0))
    ),
    "prone": lambda image, truth: (image[:, ::-1, ::-1], truth[:, ::-1, ::-1]),
    "feet first": lambda image, truth: (image[::-1, :, ::-1], truth[::-1, :, ::-1]),
    "partly imaged": lambda image, truth: tuple(
        one[8:-9, : one.shape[1] // 2, one.shape[2] // 3 :] for one in (image, truth)
    ),
    "two side by side": lambda image, truth: tuple(
        np.concatenate([one, one[:, :, ::-1]], 2) for one in (image, truth)
    ),
    "two one after the other": lambda image, truth: tuple(
        np.concatenate([one, np.full((30, *one.shape[1:]), air), one])
        for one, air in ((image, AIR), (truth, 0))
    ),
    "nobody": lambda image, truth: (np.full_like(image, AIR), np.zeros_like(truth)),
}


@pytest.fixture(scope="module")
def resampled():
    """Image and truth of a patient, at 6 mm."""
    case, spacing = tiny_phantom(2), (6.0, 6.0, 6.0)
    frame = {"spacing": case.image.spacing_mm, "target": spacing}
    shape = new_shape(case.image.array.shape, case.image.spacing_mm, spacing)
    return (
        resample(case.image.array.astype(np.float32), shape, Resampling(1), **frame),
        resample(case.truth.array.astype(np.float32), shape, Resampling(0), **frame),
    )


@pytest.mark.parametrize("patient", PATIENTS)
def test_patients_of_all_kinds_are_found_as_a_whole_with_fewer_windows_than_dense(
    patient, resampled
):
    spacing, patch = (6.0, 6.0, 6.0), (12, 20, 24)
    image, truth = PATIENTS[patient](*resampled)
    oracle = Oracle(truth, patch)
    np.testing.assert_array_equal(
        oracle.segment(image.astype(np.float32), guided(spacing_mm=spacing, air=AIR_HU)), truth
    )
    assert bool(oracle.starts) == (patient != "nobody")
    assert len(oracle.starts) < len(dense_starts(pad(image, patch)[0].shape, patch))


def test_the_segmenter_counts_what_it_skipped_and_warns_of_an_empty_scan(isotropic):
    segment = Segmenter(isotropic, windows="guided", threads=1)
    image = blobs((40, 60, 60), (3.0, 2.0, 2.0))
    counts = segment(image).windows
    assert counts["planned"] == counts["run"] + counts["skipped"]
    assert counts["run"] > 0
    empty = segment(
        Volume(np.full((40, 60, 60), -1000, np.int16), Grid((40, 60, 60), image.grid.affine))
    )
    assert empty.windows == {"planned": counts["planned"], "run": 0, "skipped": counts["planned"]}
    assert ONLY_AIR in empty.warnings
    assert not empty.labels.array.any()


def test_unknown_windows_are_refused(isotropic):
    with pytest.raises(InputError, match="expected one of guided, dense, flare22"):
        Segmenter(isotropic, windows="sparse")
