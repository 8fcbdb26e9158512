"""The sliding window on a torch device; the processor is one too, and takes the same path."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.errors import InputError
from nnstudent.inference.engines.engine import mean_of_members
from nnstudent.inference.engines.mirror import with_mirroring
from nnstudent.inference.engines.torch import TorchEngine
from nnstudent.inference.windows.on_device import or_on_host, slide_on_device, sums_on_device
from nnstudent.inference.windows.sliding import slide
from tests.inference.folders import ISOTROPIC, make_folder

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(
        make_folder(tmp_path_factory.mktemp("model") / "two", ISOTROPIC, folds=(0, 1))
    )


@pytest.fixture(scope="module")
def engines(model: Model) -> list[TorchEngine]:
    network = model.networks[0]
    return [
        TorchEngine(model, network, member=member, device="cpu", precision="fp32", threads=1)
        for member in network.members
    ]


def values(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("axes", [(), (0, 2)])
@pytest.mark.parametrize("grow", [(9, 0, 5), (-3, 4, -2)])  # in voxels, from the patch
def test_it_is_the_sliding_window_of_the_processor(
    model: Model, engines: list[TorchEngine], axes: tuple[int, ...], grow: tuple[int, int, int]
) -> None:
    spec = model.networks[0].spec
    z, y, x = (size + more for size, more in zip(spec.patch, grow, strict=True))
    image = values((z, y, x))
    members = [with_mirroring(engine, axes) for engine in engines]
    expected, ran = slide(
        image, mean_of_members(members), patch=spec.patch, classes=len(spec.classes)
    )
    told: list[tuple[int, int]] = []
    found = slide_on_device(
        image,
        engines,
        patch=spec.patch,
        classes=len(spec.classes),
        mirror_axes=axes,
        progress=lambda what, done, total: told.append((done, total)),
    )
    assert told == [(k, ran) for k in range(1, ran + 1)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_logits_that_are_not_finite_are_refused(model: Model, engines: list[TorchEngine]) -> None:
    spec = model.networks[0].spec
    image = np.full(spec.patch, np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        slide_on_device(image, engines, patch=spec.patch, classes=len(spec.classes))


def test_only_torch_on_a_gpu_sums_there_and_only_dense_windows(
    engines: list[TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sums_on_device(engines, windows="dense")
    for engine in engines:
        monkeypatch.setattr(engine, "sums_on_device", True)  # as on CUDA
    assert sums_on_device(engines, windows="dense")
    assert not sums_on_device(engines, windows="guided")
    assert not sums_on_device([*engines, object()], windows="dense")


def test_what_does_not_fit_on_the_device_is_done_by_the_processor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def too_large() -> Path:
        raise torch.cuda.OutOfMemoryError

    assert or_on_host(lambda: Path("device"), too_large) == Path("device")
    with caplog.at_level(logging.WARNING):
        assert or_on_host(too_large, lambda: Path("host")) == Path("host")
    assert "do not fit in the device's memory" in caplog.text
