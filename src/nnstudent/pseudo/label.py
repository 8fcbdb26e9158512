"""``label``: fill in what nobody annotated, by an ensemble's folds or with labels made elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.cohort.fuse import fuse
from nnstudent.cohort.uncertainty import (
    Uncertainty,
    combine_uncertainty,
    has_uncertainty,
    remove_uncertainty,
    write_uncertainty,
)
from nnstudent.errors import Failure, InputError
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_grid, read_image, write_labels
from nnstudent.io.record import file_hash, is_made_from, write_record
from nnstudent.progress import Progress, silent
from nnstudent.pseudo import external, pseudo_label
from nnstudent.pseudo.ensemble import Decision
from nnstudent.pseudo.pseudo_label import Guess, PseudoLabel
from nnstudent.pseudo.stability import compare
from nnstudent.taxonomy import Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """A model that labels images."""

    @property
    def hash(self) -> str:
        """Identity of its content."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label table that it knows."""

    @property
    def settings(self) -> Any:
        """Plain data that decides its result beside its content."""

    def guess(
        self, image: Volume, *, probability: bool = False, progress: Progress = silent
    ) -> Guess:
        """Label one image; with ``probability`` also say what it thinks of each voxel beside its label."""


@dataclass(frozen=True, eq=False)
class Made:
    """A pseudo-label before it is written.

    Attributes:
        labels: Ids of the label table on the image's grid, (z, y, x), uint8.
        told: What is said of it.
        doubt: What is thought of each voxel beside its label; None where nobody asked.
    """

    labels: LabelArray
    told: PseudoLabel
    doubt: Uncertainty | None = None


Work = Callable[[Case], tuple[Any, Callable[[], Made]]]


@dataclass(frozen=True)
class LabelResult:
    """What label did.

    Attributes:
        labels: The pseudo-labels of these cases, in the cohort's order, made now or before.
        made: Ids of those made now.
        absent: Ids of the cases for which the folder of labels made elsewhere has none.
        failures: The cases that failed while the others were done.
        notices: What the user should know, a line each.
    """

    labels: tuple[PseudoLabel, ...]
    made: tuple[str, ...]
    absent: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def change(self) -> float | None:
        """Mean over the cases of how much changed since the round before; None where there is none to compare with."""
        last = [item.changes[-1] for item in self.labels if item.changes]
        return sum(last) / len(last) if last else None


def label(
    cohort: Cohort,
    out: Path,
    *,
    teachers: Sequence[Path] | None = None,
    labels_from: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    decision: Decision = "dice",
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    part: tuple[int, int] = (1, 1),
    round: int = 1,
    before: Path | None = None,
    probability: bool = False,
    trust_pickle: bool = False,
    progress: Progress = silent,
) -> LabelResult:
    """Label the training cases that lack a class, each by the models that know one of the classes it lacks.

    Writes ``out/<case>.nii.gz`` (ids of the label table on the case's grid) and ``out/<case>.json`` (see :class:`PseudoLabel`).
    A case that is there and was made from the same image, models and settings is left as it is.

    Args:
        cohort: The cases.
        out: Folder to write into.
        teachers: Model folders: nnU-Net folders, whose folds form an ensemble, or bundles. For the classes that it knows a later
            one takes the place of the earlier.
        labels_from: Instead of teachers, a folder of label maps named after the cases.
        mapping: Foreign class name (of a model) or value (in the files) → class of the label table.
        decision: Which label a voxel gets: ``dice``, so that each label is expected to have the best Dice
            (:func:`~nnstudent.pseudo.ensemble.dice_weights`), or ``argmax``, the most probable one.
        engine: What runs the network: ``auto``, ``openvino`` or ``torch``.
        device: ``auto`` (CUDA where torch finds a GPU), ``cpu`` or ``cuda``.
        threads: Processor threads; None for all there are.
        part: (i, n): only the i-th of n parts of the cases, 1 ≤ i ≤ n, so that n machines share the work.
        round: The round of labelling, for the ledger.
        before: Folder of the round before: the records then say how much has changed (:func:`~nnstudent.pseudo.stability.changed`).
        probability: Also write ``out/probability/<case>.nii.gz``, how probable the label of each voxel is, 0 to 255, and
            ``out/runner_up/<case>.nii.gz``, what it would be else.
        trust_pickle: Also load checkpoints that hold more than tensors.
        progress: Told after each case.

    Raises:
        InputError: Neither or both of ``teachers`` and ``labels_from`` are given, a model is unusable, ``part`` is none,
            ``before`` is no folder of an earlier round, or ``probability`` is asked of labels made elsewhere.
        OutputError: ``out`` cannot be written.
    """
    if (not teachers) == (labels_from is None):
        raise InputError(
            "label needs either teachers (--teacher FOLDER …) or a folder of labels made elsewhere (--from FOLDER), not both"
        )
    number, parts = part
    if not 1 <= number <= parts:
        raise InputError(f"--part {number}/{parts}: expected I/N with 1 ≤ I ≤ N")
    if before is not None and (not before.is_dir() or before.resolve() == out.resolve()):
        raise InputError(
            f"--before {before}: expected another folder that label wrote, that of the round before"
        )
    if labels_from is not None:
        if probability:
            raise InputError(
                "--probability with --from: labels made elsewhere do not say how probable they are; leave out one of the two"
            )
        source = external.find(labels_from, cohort.taxonomy, mapping=mapping)
        return _take(cohort, out, source, part=part, round=round, before=before, progress=progress)

    from nnstudent.pseudo.teacher import open_teacher  # the engines are heavy

    if not cohort.not_fully_annotated(cohort.taxonomy.names):
        return LabelResult((), ())
    check_map(mapping or {}, cohort.taxonomy)
    opened = [
        open_teacher(
            path,
            cohort.taxonomy,
            mapping=mapping,
            decision=decision,
            engine=engine,
            device=device,
            threads=threads,
            trust_pickle=trust_pickle,
        )
        for path in teachers or ()
    ]
    foreign = {name for teacher in opened for name in teacher.foreign}
    for name in mapping or {}:
        if name not in foreign:
            raise InputError(
                f"--map {name}=…: no model has a class {name!r}; they have {', '.join(sorted(foreign))}"
            )
    known = {name for teacher in opened for name in teacher.classes}
    cases = cohort.not_fully_annotated(cohort.taxonomy.sorted(known))[number - 1 :: parts]
    return label_cases(
        cases,
        out,
        opened,
        taxonomy=cohort.taxonomy,
        part=_share(part),
        round=round,
        before=before,
        probability=probability,
        progress=progress,
    )


def _share(part: tuple[int, int]) -> str:
    """Name of a part that other machines do the rest of; empty for the whole."""
    return "" if part == (1, 1) else f"{part[0]} of {part[1]}"


def check_map(mapping: Mapping[str, str], taxonomy: Taxonomy) -> None:
    """Check that foreign classes are mapped to classes of the table.

    Raises:
        InputError: One is not.
    """
    for foreign, name in mapping.items():
        if name not in taxonomy.names:
            raise InputError(
                f"--map {foreign}={name}: no class {name!r} in label table {taxonomy.name}; it has {', '.join(taxonomy.names)}"
            )


def label_cases(
    cases: Sequence[Case],
    out: Path,
    teachers: Sequence[Teacher],
    *,
    taxonomy: Taxonomy,
    part: str = "",
    round: int = 1,
    before: Path | None = None,
    everything: bool = False,
    probability: bool = False,
    progress: Progress = silent,
) -> LabelResult:
    """Label these cases with opened teachers; see :func:`label`.

    Args:
        cases: The cases.
        out: Folder to write into.
        teachers: In the order in which they are laid over each other.
        taxonomy: The label table.
        part: Name of this share of the cases, where other calls write the rest into ``out`` at the same time.
        round: The round of labelling.
        before: See :func:`label`.
        everything: Ask every teacher about every case, also where all that it knows is annotated.
        probability: See :func:`label`.
        progress: Told after each case.
    """

    def work(case: Case) -> tuple[Any, Callable[[], Made]]:
        asked = [
            teacher
            for teacher in teachers
            if everything or not set(teacher.classes) <= case.annotated
        ]
        made_from = {
            "image": file_hash(case.image),
            "models": [
                [teacher.hash, list(teacher.classes), teacher.settings] for teacher in asked
            ],
            "taxonomy": taxonomy.to_dict(),
            "round": round,
            "format": pseudo_label.FORMAT,
        }
        return made_from, lambda: _ask(case, asked, taxonomy, round, probability)

    return _each(
        cases,
        out,
        work,
        taxonomy=taxonomy,
        part=part,
        before=before,
        probability=probability,
        progress=progress,
    )


def _ask(
    case: Case, teachers: Sequence[Teacher], taxonomy: Taxonomy, round: int, probability: bool
) -> Made:
    image = read_image(case.image)
    labels: LabelArray = np.zeros(image.array.shape, np.uint8)
    confidence: dict[str, float] = {}
    agreement: dict[str, float] = {}
    models: dict[str, str] = {}
    folds: dict[str, int] = {}
    doubt = Uncertainty.certain(labels.shape) if probability else None
    for teacher in teachers:
        said = teacher.guess(image, probability=True) if probability else teacher.guess(image)
        # For the classes that it knows a later model's word counts as truth does over pseudo-labels.
        beneath, labels = (
            labels,
            fuse(
                said.labels,
                labels,
                annotated=[taxonomy[name].id for name in teacher.classes],
                taxonomy=taxonomy,
            ),
        )
        if doubt is not None and said.doubt is not None:
            doubt = combine_uncertainty(
                labels, said.labels, said.doubt, beneath=beneath, before=doubt
            )
        for name in teacher.classes:
            models[name], folds[name] = teacher.hash, said.folds
            for table, told in ((confidence, said.confidence), (agreement, said.agreement)):
                table.pop(name, None)
                if name in told:
                    table[name] = told[name]
    about = PseudoLabel(
        case=case.id,
        made_from="",
        classes=taxonomy.sorted(models),
        models=models,
        round=round,
        confidence=confidence,
        agreement=agreement,
        found=(),
        folds=folds,
    )
    return Made(labels, about, doubt)


def _take(
    cohort: Cohort,
    out: Path,
    source: external.Elsewhere,
    *,
    part: tuple[int, int],
    round: int,
    before: Path | None,
    progress: Progress,
) -> LabelResult:
    taxonomy = cohort.taxonomy
    lacking = cohort.not_fully_annotated(
        taxonomy.names if source.classes is None else source.classes
    )[part[0] - 1 :: part[1]]
    cases = [case for case in lacking if case.id in source.files]
    absent = tuple(case.id for case in lacking if case.id not in source.files)

    def work(case: Case) -> tuple[Any, Callable[[], Made]]:
        model = file_hash(source.files[case.id])
        made_from = {
            "image": file_hash(case.image),
            "from": model,
            "values": None if source.table is None else source.table.tolist(),
            "taxonomy": taxonomy.to_dict(),
            "round": round,
            "format": pseudo_label.FORMAT,
        }

        def make() -> Made:
            labels = external.read(source, case, taxonomy).array
            models = dict.fromkeys(
                taxonomy.names if source.classes is None else source.classes, model
            )
            return Made(labels, PseudoLabel(case.id, "", source.classes, models, round, {}, {}, ()))

        return made_from, make

    share = _share(part)
    result = _each(
        cases,
        out,
        work,
        taxonomy=taxonomy,
        part=share,
        before=before,
        probability=False,
        progress=progress,
    )
    notices = tuple(f"{source.folder}: {notice}" for notice in source.notices)
    if absent:
        notices += (
            f"{source.folder}: has no label map for {len(absent)} of {len(lacking)} cases, {absent[0]} the first",
        )
    strangers = sorted(set(source.files) - {case.id for case in cohort.cases})
    if strangers:
        shown = ", ".join(source.files[id].name for id in strangers[:3]) + (
            ", …" if len(strangers) > 3 else ""
        )
        notices += (
            f"{source.folder}: passed over: {len(strangers)} × label map named like no case of the cohort: {shown}",
        )
    return replace(result, absent=absent, notices=notices)


def _each(
    cases: Sequence[Case],
    out: Path,
    work: Work,
    *,
    taxonomy: Taxonomy,
    part: str,
    before: Path | None,
    probability: bool,
    progress: Progress,
) -> LabelResult:

    def one(case: Case) -> tuple[bool, PseudoLabel | None]:
        made = _one(case, out, work, taxonomy=taxonomy, probability=probability)
        if before is not None:
            compare(case, out, before=before, taxonomy=taxonomy)
        return made, pseudo_label.read_pseudo_label(out, case.id)

    with writing(out, part=part):
        results, failures = for_each_case(
            cases, one, files=lambda case: (case.image, case.label), what="label", progress=progress
        )
    return LabelResult(
        labels=tuple(item for _, (_, item) in results if item is not None),
        made=tuple(case.id for case, (made, _) in results if made),
        failures=failures,
    )


def _one(case: Case, out: Path, work: Work, *, taxonomy: Taxonomy, probability: bool) -> bool:
    """Make what is missing of one case's pseudo-label; whether anything was."""
    begin = time.perf_counter()
    path, record = pseudo_label.paths(out, case.id)
    made_from, make = work(case)
    fresh = is_made_from(record, made_from) and _is_readable(out, case)
    if fresh and (has_uncertainty(out, case.id) or not probability):
        return False
    made, grid = make(), read_grid(case.image)
    if not fresh:
        record.unlink(missing_ok=True)  # never an old record beside a new map
        remove_uncertainty(out, case.id)
    if made.doubt is not None:
        write_uncertainty(out, case.id, made.doubt, grid, like=case.image)
    if fresh:  # a label that is there is not written again, for what was made from it would be made again too
        return True
    sizes = np.bincount(made.labels.ravel(), minlength=256)
    volume = {
        item.name: float(sizes[item.id] * grid.voxel_ml) for item in taxonomy if sizes[item.id]
    }
    write_labels(path, Volume(made.labels, grid), like=case.image)
    sure = {name: made.told.confidence[name] for name in volume if name in made.told.confidence}
    told = replace(
        made.told,
        found=tuple(volume),
        volume_ml=volume,
        confidence=sure,
        seconds=time.perf_counter() - begin,
    )
    write_record(record, stage="label", made_from=made_from, files=[path], **told.to_dict())
    return True


def _is_readable(out: Path, case: Case) -> bool:
    try:
        return pseudo_label.read_pseudo_label(out, case.id) is not None
    except InputError as error:
        log.warning("%s; it is made again", error)
        return False
