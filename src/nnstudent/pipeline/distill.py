"""``distill``: unlabeled scans and models that exist → a small student.

It is a run (:mod:`nnstudent.pipeline.run`) that trains no teachers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.bundle.labels import joint_table
from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import safe_id
from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.atomic import write_text
from nnstudent.io.finder import case_names, channels_of, list_folder
from nnstudent.io.nifti import read_grid
from nnstudent.labels.class_maps import ClassMap, find_map
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.pipeline.run import RunResult, run_folder
from nnstudent.pipeline.stages import Listener, silent_listener
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.teacher import classes_known
from nnstudent.taxonomy import Taxonomy, find_classes, flare23
from nnstudent.volume import Grid

PRESET = "distill"
LIST = "scans.csv"


@dataclass(frozen=True)
class Lesson:
    """What the teachers teach, known before any work.

    Attributes:
        source: The scans: a source that ``index`` reads.
        listed: The text of the list to write as ``source`` first; None if the source exists.
        taxonomy: The label table of the classes that the student learns.
        teachers: The models.
        mapping: What their classes are; None if they have the table's names.
    """

    source: Path
    listed: str | None
    taxonomy: Taxonomy
    teachers: tuple[Path, ...]
    mapping: ClassMap | None


def distill(
    scans: Path,
    out: Path,
    *,
    teachers: Sequence[Path | None],
    preset: str | Path | Preset = PRESET,
    classes: Sequence[str] | None = None,
    mapping: str | None = None,
    taxonomy: Taxonomy | None = None,
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 1,
    start: Model | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    listener: Listener = silent_listener,
) -> RunResult:
    """Train a student on scans that models label, or go on from where an earlier call ended.

    Args:
        scans: A folder of scans, or what :func:`nnstudent.cohort.index.index` reads. Labeled test
            cases in it are scored, and true labels take precedence over the teachers'.
        out: The run's folder, as :func:`nnstudent.pipeline.run.run` writes it.
        teachers: Models, or None for the bundled student; where several know a class, the last
            one labels it.
        preset: The preset, or its name or file.
        classes: The classes that the student learns; None for all that the teachers know.
        mapping: What the teachers' classes are, as :func:`nnstudent.labels.class_maps.find_map`
            reads it.
        taxonomy: The label table; None for FLARE23's with a ``mapping``, and otherwise that of the
            teachers.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads; None for all.
        rounds: Most rounds of labeling; from the second on the student labels.
        start: A model whose weights the student starts from, of the preset's network or a wider
            one (:func:`nnstudent.training.initial_weights.load_start`); None for random weights.
        dry_run: Only check, and return what is left to do.
        progress: Called as a stage advances.
        listener: Called when a stage begins and when it has ended.

    Raises:
        InputError: A teacher is no usable model, no teacher knows one of the classes, the student
            cannot start from ``start``, or as :func:`nnstudent.pipeline.run.run`.
        MissingExtraError: A stage that is left needs an extra that is not installed.
        OutputError: ``out`` cannot be written, another call writes into it, or its disk is too
            small.
    """
    lesson = plan_lesson(
        scans, out, teachers=teachers, classes=classes, mapping=mapping, taxonomy=taxonomy
    )
    recipes = preset if isinstance(preset, Preset) else load_preset(preset)
    for path in (*lesson.teachers, *([] if start is None else [start.path])):
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(
                f"{path}: lies in the folder of the run that would replace it; "
                "give this run another folder"
            )
    if start is not None:
        from nnstudent.training.initial_weights import check_start

        check_start(recipes.student, start, lesson.taxonomy.names)
    folder = RunFolder(
        lesson.source,
        out,
        recipes,
        taxonomy=lesson.taxonomy,
        device=device,
        threads=threads,
        given=lesson.teachers,
        mapping=lesson.mapping,
        start=start,
        round_count=rounds,
        progress=progress,
    )
    with _written(lesson, out, dry_run=dry_run):
        contents = read_source(lesson.source, taxonomy=lesson.taxonomy)
        return run_folder(folder, contents, dry_run=dry_run, listener=listener)


def plan_lesson(
    scans: Path,
    out: Path,
    *,
    teachers: Sequence[Path | None],
    classes: Sequence[str] | None = None,
    mapping: str | None = None,
    taxonomy: Taxonomy | None = None,
) -> Lesson:
    """Decide what the teachers teach; for the arguments and errors see :func:`distill`."""
    if not teachers:
        raise InputError("no teacher; give at least one model with --teacher")
    models = [open_model(path) for path in teachers]
    table = taxonomy or (flare23() if mapping is not None else _own_table(models))
    named = None if mapping is None else find_map(mapping, taxonomy=table)
    known = {name for model in models for name in classes_known(model, table, named)}
    shown = ", ".join(models[0].classes[:5]) + (" …" if len(models[0].classes) > 5 else "")
    if not known:
        raise InputError(
            f"the teachers know no class of label table {table.name} (the first knows {shown}); "
            "say what their classes are with --map"
        )
    wanted = table.sorted(known)
    if classes is not None:
        wanted = table.sorted(find_classes(classes, table.names, where="--classes"))
        lacking = [name for name in wanted if name not in known]
        if lacking:
            raise InputError(
                f"--classes {lacking[0]}: no teacher knows it; they know "
                f"{', '.join(table.sorted(known)[:20])}"
            )
    table = table.only(wanted)
    source, listed = _source(scans, out, taxonomy=table)
    paths = tuple(model.path for model in models)
    return Lesson(source, listed, table, paths, _limited(named, table))


def grids_of(scans: Path, lesson: Lesson) -> list[Grid]:
    """The grids of the scans whose headers can be read; DICOM series are left out."""
    if lesson.listed is not None:
        files: Sequence[Path] = list_folder(scans).images
    else:
        source = read_source(lesson.source, taxonomy=lesson.taxonomy)
        files = [entry.image for entry in source.entries if entry.image.is_file()]
    grids = []
    for file in files:
        with suppress(NnStudentError):  # the run names it
            grids.append(read_grid(file))
    return grids


def _own_table(models: Sequence[Model]) -> Taxonomy:
    first = models[0].taxonomy
    if all(model.taxonomy == first for model in models):
        return first
    names = dict.fromkeys(name for model in models for name in model.classes)
    return joint_table(list(names), values=None, name="teachers")


def _limited(named: ClassMap | None, table: Taxonomy) -> ClassMap | None:
    """The map without the classes that are not to be learned."""
    if named is None:
        return None
    targets = {
        foreign: ours for foreign, ours in named.targets.items() if set(ours) <= set(table.names)
    }
    return ClassMap(named.name, named.title, named.source, named.classes, targets)


def _source(scans: Path, out: Path, *, taxonomy: Taxonomy) -> tuple[Path, str | None]:
    """The source of the scans, and its text if it is a list of a folder's images."""
    images = list_folder(scans).images if scans.is_dir() else ()
    if not images or any((scans / mark).is_file() for mark in ("cohort.json", "dataset.json")):
        read_source(scans, taxonomy=taxonomy)  # its errors come before any work
        return scans, None
    if channels := channels_of(images):
        raise InputError(
            f"{scans}: holds {len(channels)} channels of each case; expected one, the CT"
        )
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "image"])
    for file, name in case_names(images).items():
        rows.writerow([safe_id(name), os.path.abspath(file)])
    return out / LIST, text.getvalue()


@contextmanager
def _written(lesson: Lesson, out: Path, *, dry_run: bool) -> Iterator[None]:
    """Write the list of scans; it stays only where a run began."""
    path, text = lesson.source, lesson.listed
    before = path.read_text("utf-8") if text is not None and path.is_file() else None
    if text is None or text == before:
        yield
        return
    write_text(path, text)
    try:
        yield
    finally:
        if dry_run or not (out / "run.json").is_file():
            if before is None:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # it holds something else
                    out.rmdir()
            else:
                write_text(path, before)
