"""The segmenter: a model, ready to run on image after image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from nnstudent.bundle.bundle import Model, Network, open_model
from nnstudent.errors import InputError
from nnstudent.inference import memory
from nnstudent.inference.cascade import crop_for_second_stage, merge_second_stage
from nnstudent.inference.checks import check_image, image_warnings, missing_organ_warnings
from nnstudent.inference.engines.engine import Engine, make_engine, mean_of_members
from nnstudent.inference.engines.mirror import with_mirroring
from nnstudent.inference.grid.preprocess import Frame, preprocess
from nnstudent.inference.grid.restore import Restoration, restore
from nnstudent.inference.labels.organs import OrganFacts, organ_facts
from nnstudent.inference.labels.postprocess import DEFAULT, check_rules
from nnstudent.inference.labels.postprocess import postprocess as corrected
from nnstudent.inference.labels.scores import ClassScores, mean_confidence
from nnstudent.inference.lesion_stage import lesion_scores, on_network_grid
from nnstudent.inference.pipelining import MemoryReservation, Stages, run_stages
from nnstudent.inference.windows.planners import WINDOWS, make_planner
from nnstudent.inference.windows.sliding import dense_starts, padded_shape, stream
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import Float32Array
from nnstudent.volume import Grid, Volume

NO_BODY = "no body in this image, only air: the network was not asked, and nothing is labeled"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one image.

    Attributes:
        labels: On the image's grid, uint8, ids of the label table.
        organs: By class name, every class of the model in the table's order.
        seconds: ``preprocess``, ``network``, ``restore`` and ``total``.
        windows: ``planned`` (as many as ``dense`` runs), ``run`` and ``skipped``.
        warnings: What a reader should know, a line each.
        engine: Which engine ran.
        precision: Of its arithmetic.
        model: The model's identity.
        predicted_peak_mb: Peak of resident memory that was predicted before the work, in MiB.
    """

    labels: Volume
    organs: Mapping[str, OrganFacts]
    seconds: Mapping[str, float]
    windows: Mapping[str, int]
    warnings: tuple[str, ...]
    engine: str
    precision: str
    model: str
    predicted_peak_mb: float


class Segmenter:
    """A model with its engines.

    Example:
        >>> segment = Segmenter(Path("bundle"))          # doctest: +SKIP
        >>> result = segment(read_image(Path("ct.nii.gz")))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model | Path | None = None,
        *,
        engine: str = "auto",
        device: str = "cpu",
        precision: str = "fp32",
        threads: int | None = None,
        windows: str = "dense",
        tta: bool = False,
        postprocess: Collection[str] = DEFAULT,
        memory_limit_mb: float | None = None,
    ) -> None:
        """Take a model; its networks are loaded when they first run.

        Args:
            model: An opened model, a path to one, or None for the student that comes with the package.
            engine: ``auto``, ``openvino`` or ``torch``.
            device: ``cpu``, ``cuda``, another that the engine knows, or ``auto``.
            precision: ``fp32``, the same on every machine; ``auto`` for the fastest that this one has, or ``bf16`` or ``int8``.
            threads: Processor threads; None for every core that this process may use.
            windows: Where windows lie: ``dense``, ``guided`` or ``flare22``; see
                :func:`~nnstudent.inference.windows.planners.make_planner`.
            tta: Whether every window is also seen mirrored, along the axes that the networks were trained with.
            postprocess: Rules that labels are corrected by; see :func:`~nnstudent.inference.labels.postprocess.postprocess`.
            memory_limit_mb: What resident memory of this process stays under, in MiB; None for what is free when a case begins.

        Raises:
            InputError: There is no such model, engine, device, precision, way to lay windows or rule, ``threads`` is below 1, or the
                memory is not above 0.
            MissingExtraError: What is needed is not installed.
        """
        if threads is not None and threads < 1:
            raise InputError(f"{threads} threads; expected at least 1")
        if windows not in WINDOWS:
            raise InputError(f"windows {windows!r}; expected one of {', '.join(WINDOWS)}")
        if memory_limit_mb is not None and not memory_limit_mb > 0:
            raise InputError(f"a memory limit of {memory_limit_mb} MiB; expected more than 0")
        check_rules(postprocess)
        self._memory_limit_mb = memory_limit_mb
        self.model = model if isinstance(model, Model) else open_model(model)
        if tta and not any(network.spec.mirror_axes for network in self.model.networks):
            raise InputError(
                f"{self.model.path}: was trained without mirrored images, as is right where left and right are classes; "
                "what it says of them means nothing, leave --tta out"
            )
        self._tta = tta
        self._settings = {"engine": engine, "device": device, "precision": precision}
        self._threads = threads or _cores()
        self._windows = windows
        self._rules = postprocess
        self._engines: dict[tuple[int, int], Engine] = {}
        self.engine_of(0, 0)  # so that what is wrong with it is said before any image is read

    @property
    def taxonomy(self) -> Taxonomy:
        """The label table of the results."""
        return self.model.taxonomy

    @property
    def made_by(self) -> Mapping[str, object]:
        """What decides the labels of an image: the model, and how it is run."""
        return {
            "model": self.model.hash,
            "precision": self._settings["precision"],
            "windows": self._windows,
            "tta": self._tta,
            "postprocess": sorted(self._rules),
        }

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members of the first network; an ensemble has several."""
        return tuple(member.name for member in self.model.networks[0].members)

    def engine_of(self, network: int, member: int) -> Engine:
        """The engine of one member of one network."""
        key = (network, member)
        if key not in self._engines:
            chosen = self._network(network)
            if not 0 <= member < len(chosen.members):
                raise InputError(
                    f"member {member} of network {chosen.name}; it has {len(chosen.members)}, counted from 0"
                )
            self._engines[key] = make_engine(
                self.model, chosen, chosen.members[member], threads=self._threads, **self._settings
            )
        return self._engines[key]

    def predict(
        self,
        image: Volume,
        *,
        network: int = 0,
        member: int | None = None,
        progress: Progress = silent,
    ) -> ClassScores:
        """Logits on the network's grid.

        Args:
            image: The image, in HU for CT.
            network: Which of the model's networks.
            member: Which member of an ensemble; None for the mean of the logits of all, as nnU-Net takes it, window by window.
            progress: Told after each window.

        Returns:
            Logits; ``.probabilities()`` gives probabilities.
        """
        values, frame = preprocess(image, self._network(network).spec)
        return self._scores(
            values,
            frame,
            network,
            range(len(self._network(network).members)) if member is None else (member,),
            progress,
        )

    def predict_members(
        self, image: Volume, *, network: int = 0, progress: Progress = silent
    ) -> Iterator[ClassScores]:
        """Logits of each member of an ensemble, the image preprocessed once."""
        chosen = self._network(network)
        values, frame = preprocess(image, chosen.spec)
        for member in range(len(chosen.members)):
            yield self._scores(values, frame, network, (member,), progress)

    def restore(self, scores: ClassScores, *, onto: Volume) -> Volume:
        """Labels on the image's grid from scores of it, such as the mean of an ensemble's."""
        engine = self.engine_of(0, 0)
        return restore(scores, onto.grid, threads=self._threads, device=engine.restores_on)

    def __call__(self, image: Volume, *, progress: Progress = silent) -> Segmentation:
        """Segment an image.

        Args:
            image: The image, in HU for CT.
            progress: Told after each window.

        Raises:
            GeometryError: The image is too large for the network's grid.
            InputError: The network gives what is not finite, the case does not fit in memory, or a label map was given.
        """
        return run_stages(self.stages(image, progress=progress))

    def stages(
        self, image: Volume, *, plan: memory.MemoryPlan | None = None, progress: Progress = silent
    ) -> Stages[Segmentation]:
        """The same in stages, so that those of several images can overlap: before the network, with it, and after.

        Args:
            image: The image, in HU for CT.
            plan: How it is run; made here, if not given.
            progress: Told after each window.

        Raises:
            GeometryError: See :meth:`__call__`.
            InputError: See there.
        """
        began = time.perf_counter()
        check_image(image)
        plan = plan or self.plan(image.grid, image=image)
        seconds = dict.fromkeys(("preprocess", "network", "restore", "waiting"), 0.0)
        labels = np.zeros(image.grid.shape, np.uint8)
        confidence: dict[str, float | None] = {}
        planned = ran = 0
        peak_mb, last = plan.peak_mb, len(self.model.networks) - 1
        for index, network in enumerate(self.model.networks):
            seen, planes, there = image, plan.planes, labels
            ids = [self.taxonomy[name].id for name in network.spec.hosts or network.spec.foreground]
            with _timed(seconds, "preprocess"):
                if network.spec.context_mm is not None:
                    if (again := crop_for_second_stage(image, labels, ids, network.spec)) is None:
                        continue
                    seen, there = again
                    part = self.plan(seen.grid, networks=[network])
                    planes, peak_mb = (
                        None if network.spec.hosts else part.planes,
                        max(peak_mb, part.peak_mb),
                    )
                values, frame = preprocess(seen, network.spec)
            if index == 0:
                with _timed(seconds, "waiting"):
                    yield
            restoration = Restoration(
                frame, seen.grid, threads=self._threads, device=self.engine_of(0, 0).restores_on
            )
            shown = self._shown(network)
            tally = np.zeros((2, len(shown)))

            def finish(
                scores: ClassScores,
                restoration: Restoration = restoration,
                tally: npt.NDArray[np.float64] = tally,
            ) -> None:
                with _timed(seconds, "restore"):
                    restoration.add(scores)
                    tally += scores.tally()

            held: list[ClassScores] = []
            before, began_windows = seconds["restore"], time.perf_counter()
            take = held.append if planes is None else finish
            ran += self._run(
                values, frame, index, range(len(network.members)), progress, take, planes=planes
            )
            seconds["network"] += (
                time.perf_counter() - began_windows - (seconds["restore"] - before)
            )
            del values
            if index == last:
                with _timed(seconds, "waiting"):
                    yield
            while held:
                finish(self._as_shown(held.pop(), network, there))
            found = restoration.labels.array
            if index == 0:
                labels = found
            else:
                merge_second_stage(
                    there,
                    found,
                    ids if network.spec.context_mm is not None and not network.spec.hosts else (),
                )
            confidence |= mean_confidence(shown, tally)
            planned += len(network.members) * len(
                dense_starts(padded_shape(frame.shape, network.spec.patch), network.spec.patch)
            )
        with _timed(seconds, "restore"):
            result = corrected(Volume(labels, image.grid), self.taxonomy, rules=self._rules)
        organs = organ_facts(
            image,
            result,
            self.taxonomy,
            {name: confidence.get(name) for name in self.model.classes},
        )
        doubt = missing_organ_warnings(
            {name: facts.volume_ml for name, facts in organs.items()}, self.taxonomy
        )
        warnings = (*image_warnings(image), *(doubt if ran else [NO_BODY]))
        engine = self.engine_of(0, 0)
        seconds["total"] = time.perf_counter() - began - seconds.pop("waiting")
        return Segmentation(
            labels=result,
            organs=organs,
            seconds=seconds,
            windows={"planned": planned, "run": ran, "skipped": max(0, planned - ran)},
            warnings=warnings,
            engine=engine.name,
            precision=engine.precision,
            model=self.model.hash,
            predicted_peak_mb=peak_mb,
        )

    def _shown(self, network: Network) -> tuple[str, ...]:
        """The classes that a network decides on: of a lesion stage only its lesions."""
        if not network.spec.hosts:
            return network.spec.classes
        return network.spec.classes[0], next(
            name for name in network.spec.foreground if name in self.taxonomy.lesions
        )

    def _as_shown(
        self, scores: ClassScores, network: Network, organs: npt.NDArray[np.uint8]
    ) -> ClassScores:
        """Scores of the classes that a network decides on, given the labels so far on the part of the image that it saw."""
        if not network.spec.hosts:
            return scores
        ids = {name: self.taxonomy[name].id for name in network.spec.hosts}
        on_grid = on_network_grid(organs, scores.frame)
        return lesion_scores(scores, network.spec, on_grid, lesions=self.taxonomy.lesions, ids=ids)

    @property
    def threads(self) -> int:
        """Processor threads that it uses."""
        return self._threads

    @property
    def peak_is_predictable(self) -> bool:
        """Whether what a case takes is known before it begins, or no limit is set; not of a cascade, whose second stage sees a part."""
        return self._memory_limit_mb is None or all(
            network.spec.context_mm is None for network in self.model.networks
        )

    def memory_reservation(self) -> MemoryReservation:
        """Room for several cases at once, made while there is none."""
        self._load()
        return MemoryReservation(
            base_mb=_resident_mb(),
            limit_mb=self._limit_mb,
            strict=self._memory_limit_mb is not None,
        )

    def plan(
        self,
        grid: Grid,
        *,
        image: Volume | None = None,
        base_mb: float | None = None,
        networks: Sequence[Network] | None = None,
    ) -> memory.MemoryPlan:
        """How a case will be run within the memory that there is, and the peak that is predicted.

        Args:
            grid: Of the image.
            image: The image, if it has been read.
            base_mb: Resident memory without any case, in MiB; what it is now, less the image, if not given.
            networks: Which; if not given all but the second stages of cascades, whose part of the image is not known before.

        Raises:
            InputError: It does not fit.
        """
        self._load()
        held, item = (
            (0.0, 2) if image is None else (image.array.nbytes / memory.MIB, image.array.itemsize)
        )
        networks = networks or [
            network for network in self.model.networks if network.spec.context_mm is None
        ]
        return memory.plan(
            grid,
            [network.spec for network in networks],
            members=[len(network.members) for network in networks],
            base_mb=max(0.0, _resident_mb() - held) if base_mb is None else base_mb,
            limit_mb=self._limit_mb(),
            item_bytes=item,
        )

    def _load(self) -> None:
        """Load every network, so that what they take is known and not predicted."""
        for index, network in enumerate(self.model.networks):
            for member in range(len(network.members)):
                self.engine_of(index, member)

    def _limit_mb(self) -> float:
        return (
            _resident_mb() + memory.free_mb()
            if self._memory_limit_mb is None
            else self._memory_limit_mb
        )

    def _network(self, index: int) -> Network:
        if not 0 <= index < len(self.model.networks):
            raise InputError(
                f"network {index}; {self.model.path} has {len(self.model.networks)}, counted from 0"
            )
        return self.model.networks[index]

    def _scores(
        self,
        values: Float32Array,
        frame: Frame,
        network: int,
        members: Sequence[int],
        progress: Progress,
    ) -> ClassScores:
        held: list[ClassScores] = []
        ran = self._run(values, frame, network, members, progress, held.append)
        return replace(held[0], windows=ran)

    def _run(
        self,
        values: Float32Array,
        frame: Frame,
        network: int,
        members: Sequence[int],
        progress: Progress,
        take: Callable[[ClassScores], None],
        *,
        planes: int | None = None,
    ) -> int:
        """Give ``take`` the mean logits of some members, all at once or slab by slab; returns how many windows ran, of all members."""
        spec = self._network(network).spec
        engines: list[Callable[[Float32Array], Float32Array]] = [
            self.engine_of(network, member) for member in members
        ]
        if self._tta:
            engines = [with_mirroring(engine, spec.mirror_axes) for engine in engines]

        ids = (0, *(self.taxonomy[name].id for name in spec.foreground))
        how, slab = spec.score_resampling, planes is not None

        def give(logits: Float32Array, first: int) -> None:
            take(
                ClassScores(
                    logits,
                    "logits",
                    spec.classes,
                    ids,
                    spec.spacing_mm,
                    how,
                    frame,
                    regions=spec.regions,
                    first=first,
                    slab=slab,
                )
            )

        planner = make_planner(self._windows, spec)
        run = mean_of_members(engines)
        windows = stream(
            values,
            run,
            give,
            patch=spec.patch,
            classes=len(spec.classes),
            planner=planner,
            progress=progress,
            planes=planes,
        )
        return windows * len(engines)


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[what] += time.perf_counter() - began


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / memory.MIB


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
