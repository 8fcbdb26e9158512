"""Checkpoints of a training: written whole or not at all, and set aside when damaged."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nnstudent.errors import OutputError, one_line, quoted
from nnstudent.io.atomic import replacing

if TYPE_CHECKING:
    from nnstudent.training.averaging import WeightAverage

log = logging.getLogger(__name__)

LATEST, PREVIOUS, FINAL = "checkpoint_latest.pth", "checkpoint_previous.pth", "checkpoint_final.pth"


class Resumable(Protocol):
    """A trainer that can load a checkpoint."""

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Restore the state that a checkpoint holds."""

    def close(self) -> None:
        """Release what the trainer holds."""


T = TypeVar("T", bound=Resumable)


@dataclass(frozen=True)
class Learned:
    """What a training has learned, and what its next step needs.

    Attributes:
        network: The network.
        optimizer: Its optimizer; None before there is one.
        scaler: The gradient scaler of half precision, or None.
        average: The moving average of the weights, or None.
    """

    network: Any
    optimizer: Any
    scaler: Any
    average: WeightAverage | None

    def state(self, *, whole: bool) -> dict[str, Any]:
        """Tensors and plain types for a checkpoint.

        Args:
            whole: Whether to include all that resuming needs, or only what predicting needs.
        """
        weights = self.network.state_dict()
        state = {
            "network_weights": weights if self.average is None else self.average.of(weights),
            "optimizer_state": None,
            "grad_scaler_state": None,
        }
        if whole and self.optimizer is not None:
            state["optimizer_state"] = self.optimizer.state_dict()
            if self.scaler is not None:
                state["grad_scaler_state"] = self.scaler.state_dict()
            if self.average is not None:
                # The optimizer continues from these weights, not from their average.
                state["last_weights"] = weights
        return state

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` gave, in place."""
        weights = checkpoint["network_weights"]
        if self.average is not None:
            self.average.load(self.network, weights)
        self.network.load_state_dict(checkpoint.get("last_weights", weights))
        if self.optimizer is not None:
            self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        if self.scaler is not None and checkpoint["grad_scaler_state"] is not None:
            self.scaler.load_state_dict(checkpoint["grad_scaler_state"])


def write_checkpoint(
    path: Path, checkpoint: Mapping[str, Any], *, keep_previous: bool = False
) -> None:
    """Write a checkpoint beside its place and rename it.

    Args:
        path: The file to write.
        checkpoint: Plain types and tensors, so that it loads with ``weights_only=True``.
        keep_previous: Keep the file that is replaced, so that training can resume from it if the
            new one is damaged.

    Raises:
        OutputError: The file cannot be written.
    """
    import torch

    with replacing(path) as temporary:
        try:
            torch.save(dict(checkpoint), temporary)
        except RuntimeError as error:  # torch reports a full disk this way
            raise OutputError(
                f"{path}: cannot be written ({quoted(error)}); is there room on the disk?"
            ) from error
        if keep_previous and path.is_file():
            os.replace(path, path.with_name(PREVIOUS))


def read_checkpoint(path: Path, *, device: Any) -> dict[str, Any]:
    """Read a checkpoint of :func:`write_checkpoint` onto a device.

    Raises:
        BadZipFile: The content has changed since it was written, which torch does not check.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} in it has changed")
    checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return checkpoint


def resume(make_trainer: Callable[[], T], folder: Path) -> T:
    """Resume from the newest checkpoint that can be read, or start afresh; set damaged ones aside.

    Args:
        make_trainer: Makes a trainer at the start of its training.
        folder: The fold's folder; checkpoints that are missing are passed over.
    """
    for path in (folder / LATEST, folder / PREVIOUS):
        if not path.is_file():
            continue
        trainer = make_trainer()
        try:
            trainer.load_checkpoint(str(path))
            return trainer
        except Exception as error:
            # A damaged file can fail in any way, and half of it may have been loaded already.
            trainer.close()
            aside = path.with_suffix(".damaged")
            os.replace(path, aside)
            log.warning(
                "%s: cannot be resumed from (%s); set aside as %s, using an earlier state",
                path,
                one_line(error),
                aside.name,
            )
    return make_trainer()


class CheckpointTimer:
    """Tells when the next checkpoint is due."""

    def __init__(self, seconds: float) -> None:
        """Start the clock.

        Args:
            seconds: Least time between checkpoints.
        """
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Start the clock again."""
        self._since = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() - self._since >= self._seconds


def remove_intermediate(folder: Path) -> None:
    """Remove what only an unfinished training needs."""
    for name in (LATEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
        (folder / name).with_suffix(".damaged").unlink(missing_ok=True)
