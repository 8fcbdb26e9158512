"""What can be known to be wrong before hours of work.

Missing extras, broken cases, cases that no teacher can learn from, a full disk.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from nnstudent.cases import for_each_case
from nnstudent.cohort.annotate import parse_classes
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.cohort.sources.source import Entry, Source
from nnstudent.errors import Failure, InputError, MissingExtraError, OutputError
from nnstudent.io.atomic import check_folder
from nnstudent.io.nifti import read_grid
from nnstudent.io.scan import is_series
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.forecast import Part, disk_bytes, labeling_work, room_used, training_work
from nnstudent.progress import Progress
from nnstudent.training.task import organ_task
from nnstudent.volume import Grid

_TRAINS = {"teach", "study", "second", "baseline"}
# What each kind of stage imports: module, extra, and what needs it.
_NEEDS = (
    (_TRAINS, "nnunetv2", "train", "training"),
    (_TRAINS | {"label", "export"}, "torch", "torch", "training and export"),
    ({"report"}, "jinja2", "report", "the report"),
)
# A rough estimate must not refuse what would fit.
_CERTAIN = 0.7


@dataclass(frozen=True)
class Preflight:
    """What was found before the work.

    Attributes:
        grids: The grid of each case whose header can be read.
        broken: Cases that cannot be used, as far as their headers tell.
        notices: What a reader should know, one line each.
    """

    grids: tuple[Grid, ...]
    broken: tuple[Failure, ...]
    notices: tuple[str, ...]


def check(
    run: RunFolder, source: Source, *, left: Collection[str], progress: Progress
) -> Preflight:
    """Look for what would end a run late; reads headers only, and writes nothing.

    Args:
        run: The run.
        source: Its cases.
        left: The stages that are left to do.
        progress: Called after each case.

    Raises:
        InputError: No case can be used, or no teacher can learn from what the source declares.
        MissingExtraError: A stage needs an extra that is not installed.
        OutputError: The disk is certainly too small, or nothing can be written to it.
    """
    check_folder(run.out)
    _require_extras(left, source.entries)
    found = for_each_case(
        source.entries,
        _grid,
        files=lambda entry: (entry.image, entry.label),
        what="look at headers",
        progress=progress,
    )
    broken = (*source.failures, *found.failures)
    if not found.results:
        first = f" (the first: {broken[0].case}: {broken[0].reason})" if broken else ""
        raise InputError(f"{run.source}: no usable case in it{first}")
    if {"index", "teach"} <= set(left):
        _require_teachable(run, source)
    grids = tuple(grid for _, grid in found.results if grid is not None)
    notices = (_require_room(run, grids, len(found.results)),) if grids and left else ()
    return Preflight(grids, broken, notices)


def _require_extras(left: Collection[str], entries: Sequence[Entry]) -> None:
    kinds = {name.split()[0] for name in left}  # "study 2" is the second round's
    for stages, module, extra, why in _NEEDS:
        if kinds & stages and find_spec(module) is None:
            raise MissingExtraError(
                f"{why} needs {module}, which is not installed; "
                f"install it with: pip install 'nnstudent[{extra}]'"
            )
    dicom = next((entry for entry in entries if is_series(entry.image)), None)
    if "index" in kinds and dicom is not None and find_spec("pydicom") is None:
        raise MissingExtraError(
            f"{dicom.image}: a DICOM series needs pydicom, which is not installed; "
            "install it with: pip install 'nnstudent[dicom]'"
        )


def _require_teachable(run: RunFolder, source: Source) -> None:
    """Raise InputError if no teacher can learn from what the source declares as annotated.

    Where a case declares nothing, only ``index`` can tell: it looks into the label maps.
    """
    entries = [entry for entry in source.entries if entry.role == "train"]
    if any(entry.label is not None and entry.annotated is None for entry in entries):
        return
    cases = {}
    for entry in entries:
        with contextlib.suppress(InputError):  # index reports it, and goes on without the case
            classes = parse_classes(
                entry.annotated or (), taxonomy=source.taxonomy, where=f"{entry.id}: annotated"
            )
            case = Case(entry.id, entry.image, entry.label, classes)
            cases[case.id.lower()] = case
    cohort = Cohort(source.taxonomy, tuple(cases.values()))
    organ_task(cohort, run.preset.teachers, folds=run.preset.folds)


def _grid(entry: Entry) -> Grid | None:
    """Return the grid of a case's image; None for a DICOM series, which index reads.

    Raises:
        InputError: A file is missing or its header cannot be used.
    """
    if entry.label is not None:
        read_grid(entry.label)
    return None if is_series(entry.image) else read_grid(entry.image)


def _require_room(run: RunFolder, grids: Sequence[Grid], cases: int) -> str:
    """Return about how much room the run takes on the disk, and how much is free.

    Raises:
        OutputError: The disk is certainly too small.
    """
    need = disk_bytes(run.preset, grids, baseline=run.baseline, rounds=run.round_count)
    need = max(0.0, need * cases / len(grids) - room_used(run.out))
    place = run.out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    about = f"about {need / 1e9:.1f}" if need >= 5e7 else "less than 0.1"
    text = f"{about} GB of disk for {run.out}, {free / 1e9:.1f} GB free"
    if need * _CERTAIN > free:
        raise OutputError(f"needs {text}; make room or choose another place")
    return f"{text}; it may become too small" if need > free else text


def parts(run: RunFolder, grids: Sequence[Grid], *, left: Collection[str]) -> list[Part]:
    """Return the long parts of the stages that are left, in order, for the time that they take.

    Args:
        run: The run.
        grids: The grid of each case.
        left: The stages that are left to do.
    """
    preset, cases = run.preset, len(grids)
    folds = len(run.given) or max(1, min(preset.folds, cases))
    organs = training_work(preset.teachers)
    found = [
        Part("teach", "organs" if folds == 1 else f"organs, fold {n} of {folds}", organs)
        for n in range(1, folds + 1)
    ]
    found.append(Part("teach", "tumor", training_work(preset.tumor or preset.teachers)))
    for this in run.rounds:
        first = run.round_before(this) is None
        models, recipe = (folds, preset.teachers) if first else (1, preset.student)
        found.append(Part(this.stage_name("label"), "label", models * labeling_work(recipe, grids)))
        found.append(Part(this.stage_name("study"), "student", training_work(preset.student)))
    if preset.second is not None:
        found.append(Part("second", "student", training_work(preset.second)))
    if run.baseline:
        found.append(Part("baseline", "student", training_work(preset.student)))
    return [part for part in found if part.stage in left]
