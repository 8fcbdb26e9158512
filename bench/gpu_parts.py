"""Networks, scans and measurements of `bench.gpu_check`."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
import torch

from nnstudent.bundle.bundle import Member, Model, Network
from nnstudent.bundle.network import build
from nnstudent.bundle.spec import BACKGROUND, NetworkSpec
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pipeline.preset import load_preset
from nnstudent.pseudo.teacher import ModelTeacher
from nnstudent.taxonomy import flare23
from nnstudent.training.design.speed import network_spec
from nnstudent.training.environment import kernels_tried
from nnstudent.training.precision import Precision
from nnstudent.training.recipe import Recipe
from nnstudent.volume import Grid, Volume

MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """Where the check runs.

    Attributes:
        name: The torch device.
        quick: Whether everything is tiny.
        work: Folder for what is made on the way.
    """

    name: str
    quick: bool
    work: Path

    @property
    def device(self) -> torch.device:
        return torch.device(self.name)

    def size(self, full: int, quick: int) -> int:
        """A number, by whether everything is tiny."""
        return quick if self.quick else full

    def recipe(self, recipe: Recipe) -> Recipe:
        """A recipe, or the like of it at tiny size."""
        if not self.quick:
            return recipe
        depth = 3
        network = replace(
            recipe.network,
            features=tuple(4 for _ in range(depth)),
            strides=recipe.network.strides[:depth],
            kernels=recipe.network.kernels and recipe.network.kernels[:depth],
        )
        data = replace(recipe.data, patch=(8, 16, 16), spacing_mm=(2.5, 3.0, 3.0))
        return replace(recipe, network=network, data=data)


def noise_scan(
    setting: Setting, *, slices: int, plane: int | None = None, thickness_mm: float = 2.5
) -> Volume:
    """An image of noise in HU, of 512×512 voxels a slice and 0.8 mm, unless everything is tiny."""
    plane = plane or setting.size(512, 24)
    shape = (setting.size(slices, max(8, slices // 8)), plane, plane)
    array = np.random.default_rng(0).integers(-1000, 400, shape, dtype=np.int16)
    spacing = setting.size(8, 30) / 10
    return Volume(array, Grid(shape, np.diag([-spacing, -spacing, thickness_mm, 1.0])))


def same(one: Any, other: Any) -> float:
    """The share of voxels with the same label, 0 to 1."""
    return round(float((one == other).mean()), 6)


def untrained_model(setting: Setting, *, tumor: bool = False) -> Model:
    """The paper's student with random weights, and its tumor network."""
    table, preset = flare23(), load_preset("paper")
    networks = [("organs", preset.student, table.organs)]
    if tumor:
        networks.append(("tumor", preset.tumor or preset.student, table.lesions))
    return _model(
        tuple(
            _network(name, setting.recipe(recipe), classes, members=1)
            for name, recipe, classes in networks
        )
    )


def paper_teacher(setting: Setting, *, device: str | None = None) -> ModelTeacher:
    """Five folds of the paper's teacher with random weights."""
    table = flare23()
    recipe = setting.recipe(load_preset("paper").teachers)
    model = _model((_network("organs", recipe, table.organs, members=5),))
    ids = (0, *(table[name].id for name in table.organs))
    segmenter = Segmenter(model, engine="torch", device=device or setting.name)
    return ModelTeacher(segmenter, table, (ids,), frozenset(table.organs), "argmax")


def _model(networks: tuple[Network, ...]) -> Model:
    return Model(Path("untrained"), "bundle", networks, flare23())


def _network(name: str, recipe: Recipe, classes: tuple[str, ...], *, members: int) -> Network:
    spec = network_spec(
        recipe.network, recipe.data.patch, recipe.data.spacing_mm, classes=(BACKGROUND, *classes)
    )

    def weights(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        return dict(build(spec).state_dict())

    return Network(
        name,
        spec,
        tuple(
            Member(f"fold_{seed}", f"{seed:016x}", partial(weights, seed))
            for seed in range(members)
        ),
    )


def step_rate(
    recipe: Recipe,
    setting: Setting,
    *,
    benchmark: bool = False,
    compiled: bool = False,
    batch: int | None = None,
) -> float:
    """Training steps per second of a recipe's network on batches that are there already.

    Args:
        recipe: The recipe.
        setting: Where it runs.
        benchmark: Whether cuDNN tries its kernels.
        compiled: Whether torch compiles the network.
        batch: Windows of a batch; None for the recipe's.
    """
    recipe = setting.recipe(recipe)
    spec: NetworkSpec = network_spec(recipe.network, recipe.data.patch, recipe.data.spacing_mm)
    device, precision = setting.device, Precision(setting.device, recipe.training.precision)
    torch.manual_seed(0)
    module = build(spec).train().to(device)
    precision.prepare(module)
    network = torch.compile(module) if compiled else module
    optimizer = torch.optim.SGD(module.parameters(), 1e-4, momentum=0.99, nesterov=True)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    count = batch or recipe.data.batch
    image = precision.move(torch.randn(count, 1, *spec.patch))
    target = torch.randint(len(spec.classes), (count, *spec.patch), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(precision.run(network, image), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    repeats = setting.size(30, 2)
    with kernels_tried(device) if benchmark else nullcontext():
        for _ in range(setting.size(5, 1)):
            step()
        _wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            step()
        _wait(device)
    return repeats / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class MemoryCurve:
    """Peak memory of a block and the area under its curve, as FLARE measures them.

    That is the memory in use on the GPU, other programs' included, sampled ten times a second; on
    the processor it is that of this process.

    Attributes:
        result: ``seconds``, ``peak_mb`` and ``area_mb_s``, in MiB.
    """

    def __init__(self, setting: Setting) -> None:
        """Take the device."""
        self._device = setting.device
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self.result: dict[str, float] = {}

    def __enter__(self) -> MemoryCurve:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._sample()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._sample()

    def _sample(self) -> None:
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            used = float(total - free)
        else:
            used = float(psutil.Process().memory_info().rss)
        self._samples.append((time.perf_counter(), used / MIB))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()
        times, used = (np.array(values) for values in zip(*self._samples, strict=True))
        self.result = {
            "seconds": round(float(times[-1] - times[0]), 2),
            "peak_mb": round(float(used.max())),
            "area_mb_s": round(float(((used[1:] + used[:-1]) / 2 * np.diff(times)).sum())),
        }
