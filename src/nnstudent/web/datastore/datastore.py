"""The datastore of a service, put together: scans, corrections, strategies, training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nnstudent.bundle.bundle import Model
from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset
from nnstudent.training.initial_weights import check_start
from nnstudent.web.datastore.ahead import Ahead
from nnstudent.web.datastore.learning import Learning
from nnstudent.web.datastore.models import Models
from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.datastore.store import Store
from nnstudent.web.datastore.strategies import FIRST, Candidate, Chooser
from nnstudent.web.jobs import Jobs
from nnstudent.web.runner import Runner
from nnstudent.web.settings import Settings


@dataclass(frozen=True, eq=False)
class Datastore:
    """What a service offers to those who correct.

    Attributes:
        store: Scans, their segmentations, their corrections.
        chooser: Chooses what is corrected next.
        models: The students that were trained.
        learning: Trains them.
        ahead: Segments the scans that a strategy could not choose yet.
    """

    store: Store
    chooser: Chooser
    models: Models
    learning: Learning
    ahead: Ahead

    def next(self, strategy: str, *, by: str) -> Scan | None:
        """Choose the scan that should be corrected next; None if there is none left.

        A strategy that measures scans chooses among those that were segmented. The others are
        then segmented in the background, so that it can choose among all the next time.

        Args:
            strategy: How it is chosen.
            by: Who asks.

        Raises:
            NotFoundError: There is no such strategy.
            InputError: The strategy needs a calibration that the model does not have.
        """
        done = {case.id for case in self.store.corrections.cohort()}
        scans = self._candidates()
        chosen = self.chooser.next(
            strategy,
            [one for one in scans if one.scan.id not in done],
            by=by,
            corrected=[one for one in scans if one.scan.id in done],
        )
        if strategy != FIRST:
            self.ahead.want()
        return chosen

    @property
    def segmented(self) -> int:
        """How many scans a strategy can choose among: those with a result of this model."""
        return sum(one.table is not None for one in self._candidates())

    def _candidates(self) -> list[Candidate]:
        scans = []
        for scan in self.store.scans.all():
            with suppress(NotFoundError):  # it was deleted a moment ago
                scans.append(Candidate(scan, self.store.result(scan)))
        return scans


def open_datastore(
    folder: Path, settings: Settings, jobs: Jobs, *, base: Model, runner: Runner
) -> Datastore:
    """Open a folder of scans.

    Args:
        folder: The folder.
        settings: How the service runs.
        jobs: Its queue.
        base: The model that it was started with.
        runner: Runs the model.

    Raises:
        InputError: The folder or the preset cannot be used, or the preset's student cannot start
            from the model.
        MissingExtraError: Learning was asked for, and nnunetv2 is not installed.
        OutputError: The work folder cannot be written.
    """
    recipe = None if settings.preset is None else load_preset(settings.preset).student
    if settings.rehearsal is not None and not (settings.rehearsal / "cohort.json").is_file():
        raise InputError(f"{settings.rehearsal}: no cohort (it has no cohort.json)")
    models = Models(settings.work / "models", base)
    if recipe is not None:
        try:
            check_start(recipe, models.current())
        except InputError as error:
            raise InputError(f"--learn {settings.preset}: {error}") from error
    store = Store(folder, jobs, models.current())

    def swap(model: Model) -> None:
        store.model = model
        number = models.number
        runner.use(models.bundle(number) if number else settings.model)

    if models.number:
        swap(store.model)
    learning = Learning(settings, models, store.corrections.folder, swap=swap)
    ahead = Ahead(store, jobs, settings.limits)
    return Datastore(store, Chooser(), models, learning, ahead)
