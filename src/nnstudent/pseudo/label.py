"""``label``: fill in the classes that nobody annotated.

Their labels are predicted by teachers or taken from a folder of label maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nnstudent.cohort.check import read_case_image
from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.io.hashes import FileHashes, hashes_path
from nnstudent.labels.class_maps import ClassMap
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.external import ExternalLabels, find_external_labels, read_external_labels
from nnstudent.pseudo.overlay import Overlay
from nnstudent.pseudo.pseudo_label import FORMAT, Prediction, PseudoLabel
from nnstudent.pseudo.settings import LabelSettings, TeacherOptions
from nnstudent.pseudo.write import Labeled, LabelResult, write_pseudo_labels
from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume


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
        """Plain data that decides its predictions, apart from its content."""

    def predict(
        self, image: Volume, *, uncertainty: bool = False, progress: Progress = silent
    ) -> Prediction:
        """Label one image; with ``uncertainty`` also say how uncertain each voxel is."""


def label(
    cohort: Cohort,
    out: Path,
    *,
    teachers: Sequence[Path | None] | None = None,
    labels_from: Path | None = None,
    mapping: ClassMap | Mapping[str, str] | None = None,
    options: TeacherOptions | None = None,
    settings: LabelSettings | None = None,
    progress: Progress = silent,
) -> LabelResult:
    """Label each training case that lacks a class, with every model that knows such a class.

    Writes ``out/<case>.nii.gz`` (ids of the label table on the case's grid) and ``out/<case>.json``
    (see :class:`~nnstudent.pseudo.pseudo_label.PseudoLabel`). A pseudo-label that exists and was
    made from the same image, models and settings is kept.

    Args:
        cohort: The cases.
        out: Folder to write to.
        teachers: Model folders: nnU-Net folders, whose folds form an ensemble, bundles, or None for
            the student that comes with the package. A later one replaces an earlier one for the
            classes that it knows.
        labels_from: Instead of teachers, a folder of label maps named after the cases.
        mapping: Class name of a model, or value in the label maps → class of the label table; or a
            class map.
        options: How teachers are run.
        settings: Which cases are labeled, and what is recorded of them.
        progress: Called after each case.

    Raises:
        InputError: Neither or both of ``teachers`` and ``labels_from`` are given, a model is
            unusable, ``mapping`` names an unknown class, the folder of the previous round is
            missing, or uncertainty is asked of label maps from a folder.
        OutputError: ``out`` cannot be written to.
    """
    settings = settings or LabelSettings()
    if (not teachers) == (labels_from is None):
        raise InputError(
            "label needs either teachers (--teacher FOLDER …) or a folder of label maps "
            "(--from FOLDER), not both"
        )
    previous = settings.previous
    if previous is not None and (not previous.is_dir() or previous.resolve() == out.resolve()):
        raise InputError(
            f"--before {previous}: expected the folder that label wrote in the previous round"
        )
    if labels_from is not None:
        if settings.uncertainty:
            raise InputError(
                "--probability with --from: label maps from a folder come without probabilities; "
                "leave out one of the two"
            )
        external = find_external_labels(labels_from, cohort.taxonomy, mapping=mapping)
        return _label_from_folder(cohort, out, external, settings=settings, progress=progress)

    from nnstudent.pseudo.teacher import open_teachers  # the engines are heavy

    if not cohort.not_fully_annotated(cohort.taxonomy.names):
        return LabelResult((), ())
    opened = open_teachers(teachers or (), cohort.taxonomy, mapping=mapping, options=options)
    known = {name for teacher in opened for name in teacher.classes}
    return label_cases(
        settings.part.of(cohort.not_fully_annotated(cohort.taxonomy.sorted(known))),
        out,
        teachers=opened,
        taxonomy=cohort.taxonomy,
        settings=settings,
        progress=progress,
    )


def label_cases(
    cases: Sequence[Case],
    out: Path,
    *,
    teachers: Sequence[Teacher],
    taxonomy: Taxonomy,
    settings: LabelSettings | None = None,
    every_teacher: bool = False,
    progress: Progress = silent,
) -> LabelResult:
    """Label these cases with opened teachers; see :func:`label`.

    Args:
        cases: The cases; if the work is shared, those of this part.
        out: Folder to write to.
        teachers: The teachers; a later one replaces an earlier one for the classes that it knows.
        taxonomy: The label table.
        settings: What is recorded of the cases.
        every_teacher: Ask every teacher about every case, even if all its classes are annotated.
        progress: Called after each case.
    """
    settings = settings or LabelSettings()
    with FileHashes(hashes_path(out, settings.part), beside_results=True) as hash_of:
        labeler = _TeacherLabeler(teachers, taxonomy, settings, every_teacher, hash_of)
        return write_pseudo_labels(
            cases, out, labeler=labeler, taxonomy=taxonomy, settings=settings, progress=progress
        )


@dataclass(frozen=True)
class _TeacherLabeler:
    """Labels a case with the teachers that know a class that it lacks."""

    teachers: Sequence[Teacher]
    taxonomy: Taxonomy
    settings: LabelSettings
    every_teacher: bool
    hash_of: Callable[[Path], str]

    def made_from(self, case: Case) -> Any:
        return {
            "image": self.hash_of(case.image),
            "models": [
                [teacher.hash, list(teacher.classes), teacher.settings]
                for teacher in self._teachers_of(case)
            ],
            "taxonomy": self.taxonomy.to_dict(),
            "round": self.settings.round,
            "format": FORMAT,
        }

    def label(self, case: Case) -> Labeled:
        image = read_case_image(case)
        uncertainty = self.settings.uncertainty
        overlay = Overlay(image.array.shape, self.taxonomy, uncertainty=uncertainty)
        record = PseudoLabel(case.id, "", None, {}, self.settings.round, {}, {}, ())
        for teacher in self._teachers_of(case):
            predicted = teacher.predict(image, uncertainty=uncertainty)
            known = [self.taxonomy[name].id for name in teacher.classes]
            overlay.add(predicted.labels, known=known, uncertainty=predicted.uncertainty)
            record = _replace_classes(record, teacher, predicted)
        record = replace(record, classes=self.taxonomy.sorted(record.models))
        return Labeled(Volume(overlay.labels, image.grid), record, overlay.uncertainty)

    def _teachers_of(self, case: Case) -> list[Teacher]:
        return [
            teacher
            for teacher in self.teachers
            if self.every_teacher or not set(teacher.classes) <= case.annotated
        ]


def _replace_classes(record: PseudoLabel, teacher: Teacher, predicted: Prediction) -> PseudoLabel:
    """Return the record in which a teacher answers for all classes that it knows."""

    def replaced(old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
        kept = {name: value for name, value in old.items() if name not in teacher.classes}
        return kept | {name: new[name] for name in teacher.classes if name in new}

    return replace(
        record,
        models={**record.models, **dict.fromkeys(teacher.classes, teacher.hash)},
        folds={**record.folds, **dict.fromkeys(teacher.classes, predicted.folds)},
        confidence=replaced(record.confidence, predicted.confidence),
        agreement=replaced(record.agreement, predicted.agreement),
        lesions=(
            *(lesion for lesion in record.lesions if lesion.name not in teacher.classes),
            *predicted.lesions,
        ),
    )


@dataclass(frozen=True)
class _FolderLabeler:
    """Takes the label of a case from a folder of label maps."""

    external: ExternalLabels
    taxonomy: Taxonomy
    round: int
    hash_of: Callable[[Path], str]

    def made_from(self, case: Case) -> Any:
        values = self.external.values
        return {
            "image": self.hash_of(case.image),
            "from": self.hash_of(self.external.files[case.id]),
            "values": None if values is None else [[id, *names] for id, names in values.items()],
            "taxonomy": self.taxonomy.to_dict(),
            "round": self.round,
            "format": FORMAT,
        }

    def label(self, case: Case) -> Labeled:
        labels = read_external_labels(self.external, case, taxonomy=self.taxonomy)
        classes = self.external.classes
        known = self.taxonomy.names if classes is None else classes
        models = dict.fromkeys(known, self.hash_of(self.external.files[case.id]))
        return Labeled(labels, PseudoLabel(case.id, "", classes, models, self.round, {}, {}, ()))


def _label_from_folder(
    cohort: Cohort,
    out: Path,
    external: ExternalLabels,
    *,
    settings: LabelSettings,
    progress: Progress,
) -> LabelResult:
    taxonomy = cohort.taxonomy
    known = taxonomy.names if external.classes is None else external.classes
    lacking = settings.part.of(cohort.not_fully_annotated(known))
    with FileHashes(hashes_path(out, settings.part), beside_results=True) as hash_of:
        result = write_pseudo_labels(
            [case for case in lacking if case.id in external.files],
            out,
            labeler=_FolderLabeler(external, taxonomy, settings.round, hash_of),
            taxonomy=taxonomy,
            settings=settings,
            progress=progress,
        )
    absent = tuple(case.id for case in lacking if case.id not in external.files)
    notices = [f"{external.folder}: {notice}" for notice in external.notices]
    if absent:
        notices.append(
            f"{external.folder}: has no label map for {len(absent)} of {len(lacking)} cases, "
            f"{absent[0]} the first"
        )
    unknown = sorted(set(external.files) - {case.id for case in cohort.cases})
    if unknown:
        shown = ", ".join(external.files[id].name for id in unknown[:3])
        notices.append(
            f"{external.folder}: passed over: {len(unknown)} × label map named like no case of the "
            f"cohort: {shown}{', …' if len(unknown) > 3 else ''}"
        )
    return replace(result, absent=absent, notices=tuple(notices))
