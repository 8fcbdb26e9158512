"""Running the networks of a model over preprocessed images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from nnstudent.bundle.bundle import Model, Network
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.choices import WINDOWS
from nnstudent.errors import InputError
from nnstudent.inference.engines.engine import Engine, make_engine, mean_of_members
from nnstudent.inference.engines.mirror import with_mirroring
from nnstudent.inference.engines.torch import TorchEngine
from nnstudent.inference.grid.preprocess import Frame
from nnstudent.inference.labels.scores import ClassScores
from nnstudent.inference.memory import window_bytes
from nnstudent.inference.windows.accumulator import Compare
from nnstudent.inference.windows.on_device import or_on_host, slide_on_device, sums_on_device
from nnstudent.inference.windows.planners import make_planner
from nnstudent.inference.windows.sliding import dense_starts, padded_shape, stream
from nnstudent.progress import Progress, silent
from nnstudent.types import Float32Array

Run = Callable[[Float32Array], Float32Array]  # of one window
_ITEM_BYTES = {"bf16": 2, "fp16": 2}  # of a value between layers; half of them with int8 are float


class ModelRunner:
    """A model's networks with their engines, which are loaded when they first run.

    Attributes:
        model: The model.
        threads: Processor threads that it uses.
    """

    def __init__(
        self,
        model: Model,
        *,
        engine: str,
        device: str,
        precision: str,
        threads: int | None,
        windows: str,
        tta: bool,
    ) -> None:
        """For the arguments and errors see :class:`~nnstudent.inference.segmenter.Segmenter`."""
        if threads is not None and threads < 1:
            raise InputError(f"{threads} threads; expected at least 1")
        if windows not in WINDOWS:
            raise InputError(f"windows {windows!r}; expected one of {', '.join(WINDOWS)}")
        if tta and not any(network.spec.mirror_axes for network in model.networks):
            raise InputError(
                f"{model.path}: was trained without mirrored images, as is right where left and "
                "right are classes, so its output for them means nothing; leave --tta out"
            )
        alone = [one.name for one in model.networks if one.spec.relative_to and not one.spec.hosts]
        if alone:
            raise InputError(
                f"{model.path}: {alone[0]} sees intensities relative to organs, so it runs behind "
                "a model that segments them; export it with --behind and --hosts"
            )
        self.model = model
        self.threads = threads or _cores()
        self._settings = {"engine": engine, "device": device, "precision": precision}
        self._windows, self._tta = windows, tta
        self._engines: dict[tuple[int, int], Engine] = {}

    def network(self, index: int) -> Network:
        """One of the model's networks.

        Raises:
            InputError: There is none of this index.
        """
        if not 0 <= index < len(self.model.networks):
            raise InputError(
                f"network {index}; {self.model.path} has {len(self.model.networks)}, counted from 0"
            )
        return self.model.networks[index]

    def engine_of(self, network: int, member: int) -> Engine:
        """The engine of one member of one network; loaded when it is first asked for.

        Raises:
            InputError: There is no such network or member, or it does not load.
        """
        key = (network, member)
        if key not in self._engines:
            chosen = self.network(network)
            if not 0 <= member < len(chosen.members):
                raise InputError(
                    f"member {member} of network {chosen.name}; "
                    f"it has {len(chosen.members)}, counted from 0"
                )
            self._engines[key] = make_engine(
                self.model,
                chosen,
                member=chosen.members[member],
                threads=self.threads,
                **self._settings,
            )
        return self._engines[key]

    def load(self) -> None:
        """Load every network, so that its memory is measured and not predicted."""
        for index, network in enumerate(self.model.networks):
            for member in range(len(network.members)):
                self.engine_of(index, member)

    def run_network(
        self,
        network: int,
        values: Float32Array,
        *,
        spec: NetworkSpec | None = None,
        frame: Frame,
        take: Callable[[ClassScores], None],
        members: Sequence[int] | None = None,
        planes: int | None = None,
        in_file: bool = False,
        compare: Compare | None = None,
        progress: Progress = silent,
    ) -> int:
        """Run one network over a preprocessed image.

        Args:
            network: Which of the model's networks.
            values: The image on the network's grid, see
                :func:`~nnstudent.inference.grid.preprocess.preprocess`.
            spec: The network on another grid than its own, the one of ``values``; None for its own.
            frame: Where that grid lies in the image.
            take: Given the members' mean logits, all at once or slab by slab.
            members: Which members; None for all.
            planes: Planes of class scores held at once; None for all.
            in_file: Whether they are held in a temporary file, because memory is short.
            compare: Given the logits of a window and of those before it where they overlap.
            progress: Called after each window.

        Returns:
            How many windows ran, of all members.
        """
        chosen = self.network(network)
        spec = spec or chosen.spec
        members = range(len(chosen.members)) if members is None else members
        engines = [self.engine_of(network, member) for member in members]

        def take_logits(logits: Float32Array, first: int) -> None:
            if in_file:  # what a window took makes room for what is made of the scores
                _release(engines)
            scores = self._class_scores(spec, logits, frame)
            take(replace(scores, first=first, slab=planes is not None))

        def on_device() -> int:
            logits = self._logits_on_device(network, values, members, progress=progress)
            take_logits(logits.cpu().numpy(), 0)
            return self._dense_windows(network, values)

        def on_host() -> int:
            head = engines[0].head if len(engines) == 1 else None
            runs: list[Run] = [*engines] if head is None else [engines[0].features]
            if self._tta:
                runs = [with_mirroring(run, spec.mirror_axes) for run in runs]
            return stream(
                values,
                mean_of_members(runs),
                take_logits,
                patch=spec.patch,
                classes=len(spec.classes),
                planner=make_planner(self._windows, spec),
                progress=progress,
                planes=planes,
                in_file=in_file,
                compare=compare,
                head=head,
            )

        # Slabs and comparisons need each window's logits here.
        at_once = planes is None and compare is None
        if at_once and sums_on_device(engines, windows=self._windows):
            windows = or_on_host(on_device, on_host)
        else:
            windows = on_host()
        if len(self.model.networks) > 1:  # what a window took, the next network needs
            _release(engines)
        return windows * len(engines)

    def summed_channels(self, network: int) -> int:
        """How many values of each voxel are summed over a network's windows.

        They are its classes, or its features where these are far fewer.
        """
        chosen = self.network(network)
        head = self.engine_of(network, 0).head if len(chosen.members) == 1 else None
        return len(chosen.spec.classes) if head is None else head.features

    def window_bytes(self, network: int) -> int:
        """Memory that a window takes in the engine of one member of a network."""
        engine, spec = self.engine_of(network, 0), self.network(network).spec
        return window_bytes(
            spec,
            self.summed_channels(network),
            item_bytes=_ITEM_BYTES.get(engine.precision, 4),
            outputs=1 if engine.name == "openvino" else 2,
        )

    def member_logits(
        self, network: int, values: Float32Array, *, frame: Frame, progress: Progress
    ) -> Iterator[tuple[Any, ClassScores]]:
        """Logits of each member of a network as tensors on the device, each with a template.

        Only where :meth:`sums_on_device`; for the arguments see :meth:`run_network`.

        Yields:
            Logits (class, z, y, x), and scores without values that say how they are restored.
        """
        for member in range(len(self.network(network).members)):
            logits = self._logits_on_device(network, values, [member], progress=progress)
            empty = np.broadcast_to(np.float32(0), tuple(logits.shape))
            yield logits, self._class_scores(self.network(network).spec, empty, frame)

    def sums_on_device(self, network: int) -> bool:
        """Whether a network's windows can be summed on the device where they run."""
        engines = [self.engine_of(network, k) for k in range(len(self.network(network).members))]
        return sums_on_device(engines, windows=self._windows)

    def _logits_on_device(
        self, network: int, values: Float32Array, members: Sequence[int], *, progress: Progress
    ) -> Any:
        spec = self.network(network).spec
        return slide_on_device(
            values,
            [cast(TorchEngine, self.engine_of(network, member)) for member in members],
            patch=spec.patch,
            classes=len(spec.classes),
            mirror_axes=spec.mirror_axes if self._tta else (),
            progress=progress,
        )

    def _dense_windows(self, network: int, values: Float32Array) -> int:
        patch = self.network(network).spec.patch
        return len(dense_starts(padded_shape(values.shape, patch), patch))

    def _class_scores(self, spec: NetworkSpec, logits: Float32Array, frame: Frame) -> ClassScores:
        return ClassScores(
            logits,
            "logits",
            spec.classes,
            (0, *(self.model.taxonomy[name].id for name in spec.foreground)),
            spec.spacing_mm,
            spec.score_resampling,
            frame,
            regions=spec.regions,
            # A slab need not have all planes of the frame.
            slab=logits.shape[1] != frame.shape[0],
        )

    def scores(
        self,
        network: int,
        values: Float32Array,
        *,
        frame: Frame,
        members: Sequence[int] | None,
        progress: Progress,
    ) -> ClassScores:
        """Logits of some members of a network, all at once; see :meth:`run_network`."""
        held: list[ClassScores] = []
        ran = self.run_network(
            network,
            values,
            frame=frame,
            take=held.append,
            members=members,
            progress=progress,
        )
        return replace(held[0], windows=ran)


def _release(engines: Sequence[Engine]) -> None:
    for engine in engines:
        engine.release()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
