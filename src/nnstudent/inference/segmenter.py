"""The segmenter: a model, ready to run on image after image."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from nnstudent.bundle.bundle import Model, Network, open_model
from nnstudent.errors import InputError
from nnstudent.inference import memory
from nnstudent.inference.case_run import CaseRun
from nnstudent.inference.checks import check_image
from nnstudent.inference.engines.engine import Engine
from nnstudent.inference.grid.preprocess import preprocess
from nnstudent.inference.grid.restore import restore
from nnstudent.inference.labels.postprocess import DEFAULT, check_rules, postprocess
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.model_runner import ModelRunner
from nnstudent.inference.pipelining import MemoryReservation, Stages, run_stages
from nnstudent.inference.second_look import looks
from nnstudent.inference.segmentation import Segmentation
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Grid, Volume


class Segmenter:
    """A model with its engines, called with one image after another.

    Example:
        >>> segment = Segmenter(Path("bundle"))  # doctest: +SKIP
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
        """Open a model; its networks are loaded when they first run.

        Args:
            model: An opened model, a path to one, or None for the bundled student.
            engine: ``auto``, ``openvino`` or ``torch``.
            device: ``cpu``, ``cuda``, OpenVINO's ``gpu`` or ``npu``, or ``auto``.
            precision: ``fp32``, the same on every machine; ``auto``, the fastest on this one;
                ``bf16`` or ``int8``.
            threads: Processor threads; None for every core that this process may use.
            windows: Where windows lie: ``dense``, ``guided`` or ``flare22``; see
                :func:`~nnstudent.inference.windows.planners.make_planner`.
            tta: Whether each window is also run mirrored, along the axes that the networks were
                trained with.
            postprocess: Rules that correct the labels; see
                :func:`~nnstudent.inference.labels.postprocess.postprocess`.
            memory_limit_mb: Limit of this process's resident memory, in MiB; None for what is
                free when a case begins.

        Raises:
            InputError: The model, engine, device, precision, windows or a rule does not exist,
                ``threads`` is below 1, or the memory limit is not above 0.
            MissingExtraError: A package that is needed is not installed.
        """
        if memory_limit_mb is not None and not memory_limit_mb > 0:
            raise InputError(f"a memory limit of {memory_limit_mb} MiB; expected more than 0")
        check_rules(postprocess)
        self.model = model if isinstance(model, Model) else open_model(model)
        self.runner = ModelRunner(
            self.model,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            windows=windows,
            tta=tta,
        )
        self._made_by = {"precision": precision, "windows": windows, "tta": tta}
        self._rules = postprocess
        self._memory_limit_mb = memory_limit_mb
        self.engine_of(0, 0)  # so that its errors are raised before any image is read

    @property
    def taxonomy(self) -> Taxonomy:
        """The label table of the results."""
        return self.model.taxonomy

    @property
    def made_by(self) -> Mapping[str, object]:
        """Everything that decides an image's labels: the model, and how it is run."""
        return {
            "model": self.model.hash,
            **self._made_by,
            "postprocess": sorted(self._rules),
        }

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members of the first network; an ensemble has several."""
        return tuple(member.name for member in self.model.networks[0].members)

    @property
    def threads(self) -> int:
        """Processor threads that it uses."""
        return self.runner.threads

    @property
    def peak_is_predictable(self) -> bool:
        """Whether peak memory is predictable.

        False for a cascade under a limit, whose second-stage crop is unknown in advance.
        """
        return self._memory_limit_mb is None or all(
            network.spec.context_mm is None for network in self.model.networks
        )

    def __call__(self, image: Volume, *, progress: Progress = silent) -> Segmentation:
        """Segment an image.

        Args:
            image: The image, in HU for CT.
            progress: Called after each window.

        Raises:
            GeometryError: The image is too large for the network's grid.
            InputError: The network's output is not finite, the case does not fit in memory, or a
                label map was given.
        """
        return run_stages(self.stages(image, progress=progress))

    def stages(
        self,
        image: Volume,
        *,
        plan: memory.MemoryPlan | None = None,
        progress: Progress = silent,
        keep: bool = False,
        most_kept_bytes: float = math.inf,
    ) -> Stages[Segmentation]:
        """Segment an image in stages, so that those of several images can overlap.

        The stages end before the network runs, after it has, and with the result.

        Args:
            image: The image, in HU for CT.
            plan: How it is run; made here if not given.
            progress: Called after each window.
            keep: Whether the result has the probabilities of all classes.
            most_kept_bytes: Disk space that they may take; networks that would take more are left
                out.

        Raises:
            GeometryError: See :meth:`__call__`.
            InputError: See :meth:`__call__`.
        """
        check_image(image)
        plan = plan or self.plan(image.grid, image=image)
        maps = ProbabilityMaps(image.grid, most_bytes=most_kept_bytes) if keep else None
        return (yield from CaseRun(image, self, plan=plan, progress=progress, keep=maps).stages())

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
            member: Which member of an ensemble; None for the mean of the logits of all members,
                window by window, as nnU-Net computes it.
            progress: Called after each window.

        Returns:
            Logits; ``.probabilities()`` gives probabilities.
        """
        values, frame = preprocess(image, self.runner.network(network).spec)
        members = None if member is None else (member,)
        return self.runner.scores(network, values, frame=frame, members=members, progress=progress)

    def predict_members(
        self, image: Volume, *, network: int = 0, progress: Progress = silent
    ) -> Iterator[ClassScores]:
        """Logits of each member of an ensemble; the image is preprocessed once."""
        chosen = self.runner.network(network)
        values, frame = preprocess(image, chosen.spec)
        for member in range(len(chosen.members)):
            yield self.runner.scores(
                network, values, frame=frame, members=(member,), progress=progress
            )

    def members_on_device(
        self, image: Volume, *, network: int = 0, progress: Progress = silent
    ) -> Iterator[tuple[Any, ClassScores]]:
        """As :meth:`predict_members` with tensors; see :meth:`ModelRunner.member_logits`."""
        values, frame = preprocess(image, self.runner.network(network).spec)
        yield from self.runner.member_logits(network, values, frame=frame, progress=progress)

    def restore(self, scores: ClassScores, *, onto: Volume) -> Volume:
        """Labels on the grid of ``onto`` from scores of it, such as the mean of an ensemble's."""
        engine = self.engine_of(0, 0)
        return restore(scores, onto.grid, threads=self.threads, device=engine.restores_on)

    def correct(self, labels: Volume) -> Volume:
        """Labels after post-processing by the rules that were chosen."""
        return postprocess(labels, self.taxonomy, rules=self._rules)

    def ids(self, classes: Iterable[str]) -> list[int]:
        """Ids of classes in the label table."""
        return [self.taxonomy[name].id for name in classes]

    def engine_of(self, network: int, member: int) -> Engine:
        """The engine of one member of one network, see :meth:`ModelRunner.engine_of`."""
        return self.runner.engine_of(network, member)

    def memory_reservation(self) -> MemoryReservation:
        """A reservation that concurrent cases share; create it before the first case starts."""
        self.runner.load()
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
        """Decide how a case is run within the memory available, and predict its peak.

        Args:
            grid: The image's grid.
            image: The image, if it has been read.
            base_mb: Resident memory without any case, in MiB; by default the present one, less
                the image.
            networks: The networks that run; by default all but the second stages of cascades,
                whose crop of the image is unknown in advance. A second look counts as one at the
                whole image.

        Raises:
            InputError: The case does not fit.
        """
        self.runner.load()
        held, item = (
            (0.0, 2) if image is None else (image.array.nbytes / memory.MIB, image.array.itemsize)
        )
        every = self.model.networks
        networks = networks or [one for one in every if one.spec.context_mm is None]
        runs = [(every.index(one), spec) for one in networks for spec in looks(one.spec)]
        return memory.plan(
            grid,
            [spec for _, spec in runs],
            members=[len(every[k].members) for k, _ in runs],
            base_mb=max(0.0, _resident_mb() - held) if base_mb is None else base_mb,
            limit_mb=self._limit_mb(),
            item_bytes=item,
            channels=[self.runner.summed_channels(k) for k, _ in runs],
            windows=[self.runner.window_bytes(k) for k, _ in runs],
        )

    def _limit_mb(self) -> float:
        if self._memory_limit_mb is not None:
            return self._memory_limit_mb
        return _resident_mb() + memory.free_mb()


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / memory.MIB
