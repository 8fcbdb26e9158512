from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.plans import from_nnunet
from nnstudent.errors import InputError
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.memory import free_mb, network_shape, parse_size, plan, window_bytes
from nnstudent.inference.segmenter import Segmenter
from nnstudent.inference.windows.sliding import slide, stream
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, dataset, make_folder, plans

SPEC, _ = from_nnunet(
    plans(ISOTROPIC), dataset(("liver", "spleen", "aorta")), configuration="3d_fullres", name="m"
)
FINE = replace(SPEC, spacing_mm=(1.0, 1.0, 1.0))


@given(
    depth=st.integers(3, 60),
    more=st.integers(1, 40),
    seed=st.integers(0, 3),
    in_file=st.booleans(),
)
def test_slab_by_slab_the_logits_are_the_same(depth, more, seed, in_file):
    image = np.random.default_rng(seed).standard_normal((depth, 9, 14)).astype(np.float32)
    patch = (8, 8, 10)

    def network(window):
        return np.stack([np.cumsum(window, axis=0), -window, window * window])

    whole, ran = slide(image, network, patch=patch, classes=3)
    together = np.full_like(whole, np.nan)

    def take(values, first):
        if first:
            np.testing.assert_array_equal(values[:, 0], together[:, first])
        together[:, first : first + values.shape[1]] = values

    planes = patch[0] + more
    again = stream(image, network, take, patch=patch, classes=3, planes=planes, in_file=in_file)
    assert again == ran
    np.testing.assert_array_equal(together, whole)


def test_a_planner_that_goes_back_is_refused_only_in_slabs():
    image = np.zeros((40, 8, 8), np.float32)

    def back(canvas, run_window):
        for z in (0, 20, 0):
            run_window((z, 0, 0))

    def network(window):
        return np.stack([window, window])

    assert slide(image, network, patch=(8, 8, 8), classes=2, planner=back)[1] == 3
    with pytest.raises(InputError, match="go back along z"):
        stream(
            image,
            network,
            lambda values, first: None,
            patch=(8, 8, 8),
            classes=2,
            planner=back,
            planes=9,
        )


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    return make_folder(
        tmp_path_factory.mktemp("models") / "ensemble", ISOTROPIC, folds=(0, 2), seed=5
    )


@pytest.mark.parametrize(
    ("model", "axes"), [("isotropic", "RAS"), ("isotropic", "SRA"), ("ensemble", "LPI")]
)
def test_labels_and_confidence_are_the_same_under_any_limit(request, monkeypatch, model, axes):
    image = blobs((60, 24, 30), (5.0, 4.0, 4.0), axes=axes)
    segmenter = Segmenter(request.getfixturevalue(model), threads=2)
    whole = segmenter(image)
    free = segmenter.plan(image.grid, image=image)
    assert free.planes is None
    for in_file in (False, True):
        plan = replace(free, planes=20, in_file=in_file)
        monkeypatch.setattr(Segmenter, "plan", lambda self, grid, image=None, plan=plan: plan)
        told = segmenter(image)
        np.testing.assert_array_equal(told.labels.array, whole.labels.array)
        for name, facts in whole.organs.items():
            assert told.organs[name].confidence == pytest.approx(facts.confidence, abs=1e-6)
        assert told.windows == whole.windows


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "IPL"])
def test_the_networks_grid_is_known_before_the_image(axes):
    image = blobs((24, 20, 25), (5.0, 4.1, 3.7), axes=axes)
    assert network_shape(image.grid, SPEC) == preprocess(image, SPEC)[1].shape


def test_what_does_not_fit_at_once_is_done_in_slabs_and_what_cannot_is_refused():
    grid = Grid((400, 300, 300), np.diag([1.0, 1.0, 1.0, 1.0]))
    unlimited = plan(grid, [FINE], members=[1], base_mb=100, limit_mb=1e6)
    assert unlimited.planes is None
    tight = plan(grid, [FINE], members=[1], base_mb=100, limit_mb=unlimited.peak_mb - 1)
    assert tight.planes is not None
    assert FINE.patch[0] < tight.planes < 400
    assert tight.peak_mb <= unlimited.peak_mb - 1
    with pytest.raises(InputError, match=r"needs \d\.\d\d GB of memory, and may take 0\.21 GB"):
        plan(grid, [FINE], members=[1], base_mb=100, limit_mb=200)
    assert (
        plan(grid, [FINE], members=[3], base_mb=100, limit_mb=unlimited.peak_mb - 1).planes
        is not None
    )
    splines = replace(
        FINE, score_resampling=replace(FINE.score_resampling, order=3)
    )  # which need all scores at once
    with pytest.raises(InputError, match="needs"):
        plan(grid, [splines], members=[1], base_mb=100, limit_mb=unlimited.peak_mb - 1)


def test_sums_lie_in_a_file_where_slabs_of_them_do_not_fit():
    grid = Grid((400, 300, 300), np.diag([1.0, 1.0, 1.0, 1.0]))
    many = replace(FINE, classes=("background", *(f"c{k}" for k in range(40))))

    def planned(limit_mb, spec=many):
        return plan(grid, [spec], members=[1], base_mb=100, limit_mb=limit_mb)

    low, high = 100.0, planned(1e6).peak_mb
    while high - low > 1:  # the lowest limit under which they need no file
        middle = (low + high) / 2
        try:
            low, high = (middle, high) if planned(middle).in_file else (low, middle)
        except InputError:
            low = middle
    assert not planned(high).in_file
    in_file = planned(low)
    assert in_file.in_file
    assert in_file.planes == FINE.patch[0] + 1
    assert in_file.peak_mb < low - 100  # the sums are gone, 41 values of 4 bytes a voxel
    assert planned(in_file.peak_mb + 1) == in_file
    with pytest.raises(InputError, match="needs"):
        planned(in_file.peak_mb - 1)
    splines = replace(many, score_resampling=replace(many.score_resampling, order=3))
    with pytest.raises(InputError, match="needs"):
        planned(low, splines)


def test_a_window_takes_half_where_layers_compute_in_two_bytes():
    voxels = np.prod(SPEC.patch)
    full, half = (window_bytes(SPEC, 10, item_bytes=n, outputs=1) for n in (4, 2))
    assert full - half == half - voxels * 10 * 4


@pytest.mark.parametrize(
    ("text", "mib"),
    [("2GB", 2e9 / 2**20), ("1.5 GiB", 1536), ("800mb", 800e6 / 2**20), ("4G", 4e9 / 2**20)],
)
def test_sizes(text, mib):
    assert parse_size(text) == pytest.approx(mib)


@pytest.mark.parametrize("text", ["", "0GB", "-1GB", "2", "two GB", "GB", "nanGB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="expected a size"):
        parse_size(text)


def test_what_is_free_is_no_more_than_the_machine_has():
    import psutil

    assert 0 < free_mb() <= psutil.virtual_memory().total / 2**20


CASE = """
import json, sys
from dataclasses import replace
import numpy as np
from nnstudent.bundle.bundle import open_model
from nnstudent.inference.memory import peak_rss_mb
from nnstudent.inference.segmenter import Segmenter
from nnstudent.volume import Grid, Volume
model = open_model()
if sys.argv[1] == "once":
    first, *others = model.networks
    first = replace(first, spec=replace(first.spec, finer_mm=None))
    model = replace(model, networks=(first, *others))
segmenter = Segmenter(model, threads=2, precision="fp32", windows="dense", memory_limit_mb=1e6)
shape = (150, 150, 150)
values = np.random.default_rng(0).integers(-100, 100, shape, np.int16)
image = Volume(values, Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0])))
del values

plan = segmenter.plan(image.grid, image=image)
segmenter(image)
print(json.dumps([plan.planes, plan.peak_mb, peak_rss_mb()]))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks at the kernel's own measure of peak memory"
)
@pytest.mark.parametrize(("looks", "times"), [("once", 2), ("twice", 3)])
def test_the_prediction_holds(looks, times):
    # In noise there is nothing to look at twice, but who predicts does not know.
    done = subprocess.run(
        [sys.executable, "-c", CASE, looks], capture_output=True, text=True, check=True
    )
    planes, predicted, peak = json.loads(done.stdout)
    assert planes is None
    assert peak <= predicted <= times * peak, f"predicted {predicted:.0f} MiB, peak {peak:.0f} MiB"


OTHER = """
import json, sys
from pathlib import Path
import numpy as np
from nnstudent.inference.memory import peak_rss_mb
from nnstudent.inference.segmenter import Segmenter
from nnstudent.volume import Grid, Volume

how = {"precision": "fp32", "windows": "dense", "postprocess": ()}
segmenter = Segmenter(Path(sys.argv[1]), threads=2, memory_limit_mb=1e6, **how)
shape = tuple(map(int, sys.argv[2].split(",")))
values = np.random.default_rng(0).integers(-100, 100, shape, np.int16)
image = Volume(values, Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0])))
del values
plan = segmenter.plan(image.grid, image=image)
segmenter(image)
print(json.dumps([plan.peak_mb, peak_rss_mb()]))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks at the kernel's own measure of peak memory"
)
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "narrower than a window",
        "narrower, on the network's grid",
        "zscore",
        "zscore within the mask",
        "rescale",
    ],
)
def test_the_prediction_holds_for_other_scans_and_schemes(kind, tmp_path):
    narrow = kind.startswith("narrow")
    mm = 2.0 if "grid" in kind else 2.25
    settings = ISOTROPIC | (
        {"spacing": [mm, mm, mm], "patch_size": [16, 128, 128]}
        if narrow
        else {"spacing": [9.0, 9.0, 9.0]}  # the network has little to do
    )
    classes = tuple(item.name for item in flare23()) if narrow else ("liver", "spleen", "aorta")
    model = make_folder(tmp_path / "model", settings, classes=classes)
    if not narrow:
        written = json.loads((model / "plans.json").read_text())
        how = written["configurations"]["3d_fullres"]
        how["normalization_schemes"] = [
            "RescaleTo01Normalization" if kind == "rescale" else "ZScoreNormalization"
        ]
        how["use_mask_for_norm"] = ["mask" in kind]
        (model / "plans.json").write_text(json.dumps(written))
    bundle, shape = export(model, tmp_path / "bundle"), "120,124,124" if narrow else "110,220,220"
    done = subprocess.run(
        [sys.executable, "-c", OTHER, str(bundle), shape],
        capture_output=True,
        text=True,
        check=True,
    )
    predicted, peak = json.loads(done.stdout)
    assert peak <= predicted <= 2 * peak, f"predicted {predicted:.0f} MiB, peak {peak:.0f} MiB"


def test_no_more_memory_than_zero(isotropic):
    with pytest.raises(InputError, match="expected more than 0"):
        Segmenter(open_model(isotropic), memory_limit_mb=0)
