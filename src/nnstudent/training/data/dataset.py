"""A task's cases as nnU-Net wants them: label maps in channels, fingerprint, plans, preprocessed arrays. Nothing is copied."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case
from nnstudent.errors import Failure, InputError
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import (
    is_standard_nifti,
    read_grid,
    read_image,
    read_labels,
    write_image,
    write_labels,
)
from nnstudent.io.record import data_hash, file_hash, read_state
from nnstudent.progress import Progress, silent
from nnstudent.serialization import Record
from nnstudent.taxonomy import IGNORE
from nnstudent.training.annotated import volumes_if_annotated
from nnstudent.training.data.uncertainty import doubt_files, save_with_doubt
from nnstudent.training.plans import (
    CONFIGURATION,
    PLANS_NAME,
    Fingerprint,
    check_plans,
    make_dataset_json,
    make_plans,
)
from nnstudent.training.task import Split, Task, make_splits
from nnstudent.volume import Volume

log = logging.getLogger(__name__)

_SAMPLED_VOXELS = (
    2_000_000  # of foreground, over all cases; percentiles of 0.5 % rest on ten thousand of them
)
_ENDINGS = (".b2nd", "_seg.b2nd", ".npz", ".pkl")  # of what nnU-Net writes of a case
T = TypeVar("T")

# Settings that recipes have not always had, with the default at which they change nothing: a model that was made without one of
# them is not made again for it.
_LATER: dict[str, dict[str, Any]] = {
    "network": {"kind": "plain"},
    "data": {"lesion_oversampling": 1.0, "window_hu": None, "focus": []},
    "training": {
        "cutmix": 0.0,
        "copy_paste": 0.0,
        "paint_lesions": 0.0,
        "replay": 0.0,
        "ema": 0.0,
        "lesion_weight": 1.0,
        "distill": 0.0,
    },
}


@dataclass(frozen=True)
class Prepared:
    """What training needs, ready on disk.

    Attributes:
        plans: nnU-Net's plans.
        dataset_json: nnU-Net's dataset.json.
        splits: The folds.
        failures: Cases that were left out, with the reason.
        work: Folder that holds ``raw``, ``preprocessed`` and ``results``.
    """

    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    splits: list[Split]
    failures: tuple[Failure, ...]
    work: Path


@contextmanager
def nnunet_folders(
    work: Path, *, log_file: Path, workers: int = 0, progress: Progress = silent
) -> Iterator[Progress]:
    """nnU-Net's environment set to a work folder, and what it prints and warns of sent to a file.

    Args:
        work: Holds ``raw``, ``preprocessed`` and ``results``.
        log_file: Takes what nnU-Net says; lines are added.
        workers: Processes that augment; 0 for none.
        progress: Who is told of the work inside.

    Yields:
        ``progress``, with the standard output as it was outside.
    """
    values = {
        name: str(work / name.removeprefix("nnUNet_"))
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    }
    values |= {"nnUNet_n_proc_DA": str(workers), "nnUNet_wandb_enabled": "0"}
    before = {name: os.environ.get(name) for name in values}
    for name in ("raw", "preprocessed", "results"):
        (work / name).mkdir(parents=True, exist_ok=True)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(values)
    outside = sys.stdout

    def aloud(what: str, done: int, total: int) -> None:
        with redirect_stdout(outside):
            progress(what, done, total)

    try:
        with (
            log_file.open("a", encoding="utf-8", buffering=1) as out,
            redirect_stdout(out),
            warnings.catch_warnings(),
        ):

            def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
                out.write(f"{category.__name__}: {message}\n")

            warnings.showwarning = note
            yield aloud
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def source_of(task: Task, cache: Path) -> dict[str, Any]:
    """What a task's model is made from, as plain data: content hashes of the cases, classes and recipe.

    Args:
        task: The task.
        cache: File that keeps the hashes of files whose size and time have not changed.
    """
    known: dict[str, str] = read_state(cache, what="hashes") or {}
    fresh: dict[str, str] = {}

    def content(path: Path) -> str:
        try:
            stat = path.stat()
            key = data_hash(
                [str(path), stat.st_size, stat.st_mtime_ns]
            )  # no path of this machine in a model folder
            fresh[key] = known.get(key) or file_hash(path)
        except (
            OSError,
            InputError,
        ) as error:  # the case fails later, by name; here it only has to differ
            return f"unreadable: {type(error).__name__}"
        return fresh[key]

    cases = {
        case.id: [content(case.image), content(case.label)]
        for case in task.cases
        if case.label is not None
    }
    doubt = {id: [content(path) for path in files] for id, files in task.doubt.items()}
    if fresh != known:
        write_json(cache, known | fresh)
    recipe = task.recipe.to_dict()
    recipe["training"].pop(
        "checkpoint_seconds"
    )  # when it is saved changes nothing of what is learned
    for table, settings in _LATER.items():
        for name, default in settings.items():
            if recipe[table].get(name) == default:
                recipe[table].pop(name)
    recipe["training"].pop("partial")  # what it comes to is said below, where it comes to anything
    partial, donors = task.partial, task.donors
    return {
        "task": task.name,
        "taxonomy": task.taxonomy.to_dict(),
        "classes": list(task.classes),
        "cases": cases,
        "folds": task.folds,
        "truth": sorted(task.truth),
        "hidden": {id: list(names) for id, names in task.hidden.items()},
        "recipe": recipe,
        **({"annotated": {id: list(known) for id, known in partial.items()}} if partial else {}),
        **({"lesion_truth": {id: list(known) for id, known in donors.items()}} if donors else {}),
        **({"doubt": doubt} if doubt else {}),
    }


def prepare(
    task: Task, work: Path, made_from: Any, *, threads: int = 1, progress: Progress = silent
) -> Prepared:
    """Preprocess a task's cases with nnU-Net's own preprocessing, doing only what is missing in ``work``.

    Args:
        task: The task.
        work: Where to; what another task or recipe left there is removed.
        made_from: What the task is made from (:func:`source_of`).
        threads: Cases worked on at a time.
        progress: Told after each case.

    Raises:
        InputError: No case could be read.
    """
    mark = work / "task.json"
    if (read_state(mark, what="a training") or {}).get("made_from") != data_hash(made_from):
        shutil.rmtree(work, ignore_errors=True)
        write_json(mark, {"made_from": data_hash(made_from)})
    raw, folder = work / "raw" / task.dataset_name, work / "preprocessed" / task.dataset_name
    with nnunet_folders(work, log_file=work / "prepare.log", progress=progress) as aloud:
        done = folder / "prepared.json"
        state = read_state(done, what="a training")
        if state is not None:
            check_plans(
                state.get("plans"), state.get("dataset_json"), where=done
            )  # nnU-Net imports what they name
        else:
            state = _prepare(task, raw, folder, threads=threads, progress=aloud)
            write_json(done, state)
    kept = Record(state, str(done))
    failures = tuple(
        Failure(row.get("case", str), row.get("reason", str)) for row in kept.rows("failures")
    )
    splits: list[Split] = list(kept.get("splits", tuple[Split, ...]))
    write_json(
        folder / "splits_final.json",
        [{"train": list(split.train), "val": list(split.val)} for split in splits],
    )
    return Prepared(state["plans"], state["dataset_json"], splits, failures, work)


def _prepare(
    task: Task, raw: Path, folder: Path, *, threads: int, progress: Progress
) -> dict[str, Any]:
    failures: list[Failure] = []
    looked = _each(
        task.cases,
        lambda case: _look(task, case, raw),
        failures,
        threads=threads,
        progress=progress,
        what=f"{task.name}: reading cases",
    )
    if not looked:
        raise InputError(
            f"{task.name}: none of {len(task.cases)} cases could be read; the first: {failures[0].case}: {failures[0].reason}"
        )
    fingerprint = _fingerprint([facts for _, facts in looked], task.recipe.data.window_hu)
    ids = {case.id for case, _ in looked}
    partial = {id: known for id, known in task.partial.items() if id in ids}
    if partial:  # else a class that few looked for would count as one that few have
        everything = range(1, len(task.classes) + 1)
        annotated = [partial.get(case.id, everything) for case, _ in looked]
        fingerprint = replace(
            fingerprint,
            volume_ml=volumes_if_annotated([facts.volume_ml for _, facts in looked], annotated),
        )
    plans = make_plans(
        task.recipe, fingerprint, dataset_name=task.dataset_name, lesions=task.lesions.values()
    )
    donors = {id: known for id, known in task.donors.items() if id in ids}
    ignore = any(facts.ignored for _, facts in looked)
    dataset_json = make_dataset_json(
        task.taxonomy,
        task.classes,
        cases=len(looked),
        annotated=partial,
        lesion_truth=donors,
        ignore=ignore,
    )
    listed = {
        case.id: {"images": [str(facts.image)], "label": str(facts.label)} for case, facts in looked
    }
    splits = make_splits(task, list(listed))
    _hide_pseudo(task, splits, raw)
    write_json(raw / "dataset.json", dataset_json | {"dataset": listed})
    write_json(folder / "dataset.json", dataset_json | {"dataset": listed})
    write_json(folder / f"{PLANS_NAME}.json", plans)
    write_json(folder / "dataset_fingerprint.json", asdict(fingerprint))

    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    target = folder / configuration.data_identifier
    target.mkdir(parents=True, exist_ok=True)
    preprocessor = configuration.preprocessor_class(verbose=False)

    def preprocess(case: Case) -> None:
        entry = listed[case.id]
        written = folder / "written" / f"{case.id}.json"
        files = [target / f"{case.id}{ending}" for ending in _ENDINGS]
        if read_state(written, what="a preprocessed case") == _sizes(files):
            return
        for file in files:  # half-written by a call that was killed
            file.unlink(missing_ok=True)
        how: Any = (
            str(target / case.id),
            entry["images"],
            entry["label"],
            manager,
            configuration,
            dataset_json,
        )
        if task.recipe.training.distill:
            save_with_doubt(
                preprocessor,
                *how,
                files=None if _held_out(case, splits) else doubt_files(task, case, raw),
            )
        else:
            preprocessor.run_case_save(*how)
        write_json(written, _sizes(files))

    cases = [case for case, _ in looked]
    ready = _each(
        cases,
        preprocess,
        failures,
        threads=threads,
        progress=progress,
        what=f"{task.name}: preprocessing",
    )
    if not ready:
        raise InputError(
            f"{task.name}: none of {len(cases)} cases could be preprocessed; the first: {failures[0].case}: {failures[0].reason}"
        )
    return {
        "plans": plans,
        "dataset_json": dataset_json,
        "splits": [
            asdict(split) for split in _usable(task, splits, [case.id for case, _ in ready])
        ],
        "failures": [{"case": failure.case, "reason": failure.reason} for failure in failures],
    }


def _sizes(files: Sequence[Path]) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in files if file.is_file()}


def _usable(task: Task, splits: Sequence[Split], ready: Sequence[str]) -> list[Split]:
    """The splits without cases that failed.

    Drawn anew where one did, so that no fold is left without cases; but where pseudo-labels are hidden they stay, for what is held out
    has been preprocessed without its pseudo-labels.
    """
    left = [
        Split(*(tuple(id for id in part if id in ready) for part in (split.train, split.val)))
        for split in splits
    ]
    return left if task.hidden or left == list(splits) else make_splits(task, ready)


def _each(
    cases: Sequence[Case],
    work: Callable[[Case], T],
    failures: list[Failure],
    *,
    threads: int,
    progress: Progress,
    what: str,
) -> list[tuple[Case, T]]:
    """Do ``work`` for each case, a failed one noted and left out; in the order of the cases."""
    # Threads, not processes: most of the time goes to reading, unzipping and splines, which let other threads run, and
    # starting a process costs several seconds of imports.
    done, failed = for_each_case(
        cases,
        work,
        files=lambda case: (case.image, case.label),
        what=what,
        threads=threads,
        progress=progress,
    )
    for failure in failed:
        log.warning("%s: left out of training: %s", failure.case, failure.reason)
    failures += failed
    return list(done)


@dataclass(frozen=True)
class _Looked:
    image: Path
    label: Path
    intensities: npt.NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    volume_ml: tuple[float, ...]
    ignored: bool


def _look(task: Task, case: Case, raw: Path) -> _Looked:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    if case.label is None:
        raise InputError("has no label map; training needs one")
    labels = read_labels(case.label)
    grid = read_grid(case.image)
    grid.require(labels.grid, what="the label", advice="resample the label onto the image")
    channels = to_channels(labels, task, case)
    path = raw / "labels" / f"{case.id}.nii.gz"
    counts = np.bincount(channels.array.ravel(), minlength=len(task.classes) + 2)
    ignored = channels.array == len(task.classes) + 1
    # nnU-Net takes every voxel above 0 for foreground when it measures intensities; what is ignored is none.
    write_labels(
        path,
        Volume(np.where(ignored, 0, channels.array).astype(np.uint8), channels.grid)
        if counts[-1]
        else channels,
    )
    image = _readable(case.image, raw / "images" / f"{case.id}.nii.gz")
    samples = max(10_000, _SAMPLED_VOXELS // len(task.cases))
    shape, spacing, intensities, _, _ = DatasetFingerprintExtractor.analyze_case(
        [str(image)], str(path), NibabelIOWithReorient, num_samples=samples
    )
    if counts[-1]:
        write_labels(path, channels)
    z, y, x = (float(mm) for mm in spacing)
    return _Looked(
        image=image.resolve(),
        label=path.resolve(),
        intensities=np.asarray(intensities[0], np.float32),
        spacing_mm=(z, y, x),
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        volume_ml=tuple(float(count) * labels.grid.voxel_ml for count in counts[:-1]),
        ignored=bool(counts[-1]),
    )


def to_channels(labels: Volume, task: Task, case: Case, *, hide: bool = False) -> Volume:
    """A label map with taxonomy ids as one with the task's channels; every other class is background, what is ignored comes after them.

    A lesion laid over an organ is background to an organ teacher: the label map says "tumor, not liver" there, and
    the student is taught the same.

    Args:
        labels: Label map, taxonomy ids.
        task: Says which classes.
        case: The case; only classes that it has annotated are taken.
        hide: Leave out the classes that the task hides in this case.
    """
    table = np.zeros(256, np.uint8)
    hidden = task.hidden.get(case.id, ()) if hide else ()
    for channel, name in enumerate(task.classes, 1):
        if name in case.annotated and name not in hidden:
            table[task.taxonomy[name].id] = channel
    table[IGNORE] = len(task.classes) + 1
    return Volume(table[labels.array], labels.grid)


def _hide_pseudo(task: Task, splits: Sequence[Split], raw: Path) -> None:
    """Write the label maps of held-out cases anew, without their pseudo-labels: those are nothing to validate on."""
    for case in task.cases:
        if _held_out(case, splits) and case.id in task.hidden and case.label is not None:
            write_labels(
                raw / "labels" / f"{case.id}.nii.gz",
                to_channels(read_labels(case.label), task, case, hide=True),
            )


def _held_out(case: Case, splits: Sequence[Split]) -> bool:
    return any(case.id in split.val and case.id not in split.train for split in splits)


def _readable(image: Path, copy: Path) -> Path:
    """The image itself if nnU-Net's reader takes it as it is, otherwise a copy that it takes."""
    if is_standard_nifti(image):
        return image
    write_image(copy, read_image(image))
    return copy


def _fingerprint(
    looked: Sequence[_Looked], window_hu: tuple[float, float] | None = None
) -> Fingerprint:
    values = np.concatenate([facts.intensities for facts in looked])
    if values.size == 0:
        raise InputError(
            "no case has a single voxel of the classes that are to be learned; check the label maps and what is annotated"
        )
    low, median, high = (float(v) for v in np.percentile(values, (0.5, 50.0, 99.5)))
    if window_hu is not None:
        low, high = window_hu
        values = values.clip(low, high)
    intensity: Mapping[str, float] = {
        "mean": float(values.mean(dtype=np.float64)),
        "median": median,
        "std": float(values.std(dtype=np.float64)),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentile_99_5": high,
        "percentile_00_5": low,
    }
    z, y, x = (float(v) for v in np.median([facts.spacing_mm for facts in looked], axis=0))
    sizes = [int(v) for v in np.median([facts.shape for facts in looked], axis=0)]
    volumes = tuple(float(v) for v in np.sum([facts.volume_ml for facts in looked], axis=0))
    return Fingerprint(intensity, (z, y, x), (sizes[0], sizes[1], sizes[2]), volumes)
