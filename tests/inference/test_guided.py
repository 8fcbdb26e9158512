from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnstudent.bundle.spec import Normalization, Resampling
from nnstudent.cohort.phantom import make_case
from nnstudent.errors import InputError
from nnstudent.inference.body import air_limit, cell_size, find_body, pool
from nnstudent.inference.guided import Cells, foreground, guided
from nnstudent.inference.resample import new_shape, resample
from nnstudent.inference.segmenter import NO_BODY, Segmenter
from nnstudent.inference.windows import Scene, dense, dense_starts, pad
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.oracle import AIR, TISSUE, Oracle, blob, ellipsoid

AIR_HU = -300.0
# What must be found: each organ's minimal volume, and lesions of 0.5 ml.
MINIMAL_ML = {item.id: item.minimum_ml if item.kind == "organ" else 0.5 for item in flare23()}


@st.composite
def scans(draw):
    """A few bodies anywhere, of any size, tilted, cut by the image's border, with lungs; a table on either side; noise."""
    spacing = draw(st.sampled_from([(5.0, 6.0, 6.0), (4.0, 3.0, 3.0), (8.0, 5.0, 5.0), (4.0, 7.0, 2.0)]))
    shape = draw(st.tuples(st.integers(6, 30), st.integers(16, 48), st.integers(16, 48)))
    body = np.zeros(shape, bool)
    for _ in range(draw(st.integers(1, 3))):
        center = [draw(st.floats(-0.1, 1.1)) * n for n in shape]
        radii = [draw(st.floats(30, 250)) / mm for mm in spacing]
        body |= ellipsoid(shape, center, radii, tilt=draw(st.floats(-0.6, 0.6)))
    lung = ellipsoid(shape, [draw(st.floats(0, 1)) * n for n in shape], [60 / mm for mm in spacing])
    lung &= ndimage.distance_transform_edt(np.pad(body, 1, mode="edge"), spacing)[1:-1, 1:-1, 1:-1] > 20  # the chest's wall
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


@settings(max_examples=60, deadline=None)
@given(
    scan=scans(),
    patch=st.tuples(st.integers(6, 16), st.integers(12, 32), st.integers(12, 32)),
    id=st.sampled_from(sorted(MINIMAL_ML)),
    rim=st.sampled_from([None, 0.1, 0.25]),
    where=st.floats(0, 1, exclude_max=True),
)
def test_a_blob_of_minimal_volume_anywhere_in_any_body_is_found_as_a_whole(scan, patch, id, rim, where):
    image, body, spacing = scan
    inside = np.argwhere(body)
    voxels = max(1, round(MINIMAL_ML[id] / (np.prod(spacing) / 1000)))
    truth = id * blob(body, inside[int(where * len(inside))], voxels=voxels)
    oracle = Oracle(truth, patch)
    found = oracle.segment(image, guided(spacing_mm=spacing, air=AIR_HU, rim=rim))
    np.testing.assert_array_equal(found, truth)
    assert len(set(oracle.starts)) == len(oracle.starts)
    assert set(oracle.starts) <= set(dense_starts(pad(image, patch)[0].shape, patch))


@settings(max_examples=25, deadline=None)
@given(scan=scans(), patch=st.tuples(st.integers(6, 16), st.integers(12, 32), st.integers(12, 32)), seed=st.integers(0, 99))
def test_what_is_found_has_the_logits_of_dense_also_if_the_network_wavers(scan, patch, seed):
    image, body, spacing = scan
    inside = np.argwhere(body)
    rng = np.random.default_rng(seed)
    truth = np.zeros(body.shape, np.uint8)
    for k in range(1, 4):
        truth[blob(body, inside[rng.integers(len(inside))], voxels=40)] = k

    def waver(logits):
        # Less sure towards the window's border, as networks are; the same for the same window.
        unsure = np.ones(logits.shape[1:], np.float32)
        for axis, size in enumerate(unsure.shape):
            fade = np.minimum(1, np.minimum(np.arange(size), np.arange(size)[::-1]) / (size / 4) + 0.2)
            unsure *= fade.reshape([-1 if k == axis else 1 for k in range(3)])
        return logits * unsure + np.random.default_rng(int(logits.sum())).normal(0, 0.5, logits.shape).astype(np.float32)

    oracle = Oracle(truth, patch, classes=4)
    everywhere = oracle.logits(image, dense, change=waver)
    here = oracle.logits(image, guided(spacing_mm=spacing, air=AIR_HU), change=waver)
    found = (here.argmax(axis=0) > 0) & body
    np.testing.assert_allclose(here[:, found], everywhere[:, found], atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 60)] * 3),
    patch=st.tuples(*[st.integers(4, 24)] * 3),
    spacing=st.floats(0.5, 6),
    seed=st.integers(0, 9),
)
def test_a_cover_covers(shape, patch, spacing, seed):
    shape = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    cells = Cells(shape, patch, cell_size((spacing,) * 3, patch))
    mask = pool(np.random.default_rng(seed).random(shape) > 0.999, cells.cell)
    left = mask.copy()
    starts = list(cells.cover(mask))
    for start in starts:
        assert left[cells.covered(start)].any()  # none is needless
        left[cells.covered(start)] = False
    assert not left.any()
    whole = list(cells.cover(np.ones_like(mask)))
    assert len(whole) <= len(cells.starts)
    assert set(whole) <= set(cells.starts)


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
    np.testing.assert_array_equal(oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU)), truth)
    assert len(oracle.starts) < len(dense_starts(shape, patch)) / 4
    assert max(start[2] for start in oracle.starts) < 60


def test_a_rim_runs_fewer_windows_and_finds_the_same():
    shape, patch = (48, 72, 72), (16, 24, 24)
    body = np.ones(shape, bool)
    truth = 3 * ellipsoid(shape, (24, 36, 36), (14, 20, 20))
    counts = []
    for rim in (None, 0.25, 0.125):
        oracle = Oracle(truth, patch)
        image = np.where(body, TISSUE, AIR).astype(np.float32)
        np.testing.assert_array_equal(oracle.segment(image, guided(spacing_mm=(4, 4, 4), air=AIR_HU, rim=rim)), truth)
        counts.append(len(oracle.starts))
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("rim", [0, 0.3, -1])
def test_a_rim_that_leaves_gaps_is_refused(rim):
    with pytest.raises(InputError, match="rim"):
        guided(spacing_mm=(4, 4, 4), air=None, rim=rim)


def test_without_a_scale_that_tells_air_all_is_body():
    image = np.random.default_rng(0).random((20, 30, 30), np.float32)
    truth = np.zeros(image.shape, np.uint8)
    truth[19, 29, 0] = 4
    found = Oracle(truth, (8, 12, 12)).segment(image, guided(spacing_mm=(4, 4, 4), air=None))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        (Normalization("ct", mean=100, std=50, lower=-900, upper=300), -8.0),
        (Normalization("ct", mean=100, std=50, lower=-150, upper=300), -4.999),
        (Normalization("zscore"), None),
    ],
)
def test_the_limit_of_air_is_on_the_networks_scale(normalization, expected):
    assert air_limit(normalization) == (None if expected is None else pytest.approx(expected))


def test_lungs_and_gas_belong_to_the_body_and_the_table_does_not():
    body = ellipsoid((20, 60, 60), (10, 30, 30), (400, 20, 25))
    lung = ellipsoid((20, 60, 60), (10, 30, 20), (300, 8, 8))
    image = np.where(body & ~lung, TISSUE, AIR).astype(np.float32)
    image[:, 55, 5:55] = 0
    mask = find_body(Scene(*pad(image, (8, 8, 8)), (8, 8, 8)), air=AIR_HU, spacing_mm=(4, 4, 4), cell=(1, 1, 1))
    assert mask[body].all()
    assert not mask[:, 54:].any()


def test_low_odds_count_as_foreground():
    logits = np.zeros((3, 1, 1, 3), np.float32)
    logits[0] = 10
    logits[1, 0, 0] = (10, 7.1, 6.9)  # odds of 1, 0.055 and 0.045
    assert foreground(logits).ravel().tolist() == [True, True, False]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_phantom_is_found_as_by_dense(seed):
    case, spacing, patch = make_case(seed, preset="tiny"), (6.0, 6.0, 6.0), (24, 28, 32)
    shape = new_shape(case.image.array.shape, case.image.spacing_mm, spacing)
    frame = {"spacing": case.image.spacing_mm, "target": spacing}
    image = resample(case.image.array.astype(np.float32), shape, Resampling(1), **frame)
    truth = resample(case.truth.array.astype(np.float32), shape, Resampling(0), **frame)
    oracle = Oracle(truth, patch)
    np.testing.assert_array_equal(oracle.segment(image, guided(spacing_mm=spacing, air=AIR_HU)), truth)
    assert 0 < len(oracle.starts) < len(dense_starts(pad(image, patch)[0].shape, patch))


def test_the_segmenter_counts_what_it_skipped_and_warns_of_an_empty_scan(isotropic):
    segment = Segmenter(isotropic, windows="guided", threads=1)
    image = blobs((40, 60, 60), (3.0, 2.0, 2.0))
    counts = segment(image).windows
    assert counts["planned"] == counts["run"] + counts["skipped"]
    assert counts["run"] > 0
    empty = segment(Volume(np.full((40, 60, 60), -1000, np.int16), Grid((40, 60, 60), image.grid.affine)))
    assert empty.windows == {"planned": counts["planned"], "run": 0, "skipped": counts["planned"]}
    assert NO_BODY in empty.warnings
    assert not empty.labels.array.any()


def test_unknown_windows_are_refused(isotropic):
    with pytest.raises(InputError, match="expected one of dense, guided, flare22"):
        Segmenter(isotropic, windows="sparse")
