"""A run's folder: its settings, the paths in it, and what its stages share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.bundle.bundle import Model
from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.errors import InputError
from nnstudent.io.parts import Part, parts
from nnstudent.labels.class_maps import ClassMap
from nnstudent.pipeline.preset import Preset
from nnstudent.pipeline.rounds import Round, first_settled, rounds_of
from nnstudent.pipeline.stages import Outcome
from nnstudent.progress import Progress, silent
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)


@dataclass
class RunFolder:
    """The settings and the folder of one run, which the stages in ``steps`` read and write.

    Attributes:
        source: What is indexed: a folder of scans, a list, or a cohort folder.
        out: The run's folder.
        preset: Recipes and stage settings.
        taxonomy: The label table, or None for the source's own.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads; None for all.
        given: Models of other makers that label the cases; the run then trains no teachers.
        mapping: What the classes of these models are; None if they have the table's names.
        start: A model whose weights the student of each round starts from; None for random ones.
        round_count: Most rounds of labeling, each by the student of the round before.
        baseline: Whether the student's network is also trained without pseudo-labels, to compare.
        jobs: How many jobs run at the same time on a cluster; stages are cut into so many pieces.
        sizes: Number of cases in the source by role, so that no piece is empty; None if unknown.
        progress: Called as a stage advances.
        notices: Lines that the stages left for the reader of the results.

    Raises:
        InputError: A number is below 1.
    """

    source: Path
    out: Path
    preset: Preset
    taxonomy: Taxonomy | None = None
    device: str = "auto"
    threads: int | None = None
    given: Sequence[Path] = ()
    mapping: ClassMap | None = None
    start: Model | None = None
    round_count: int = 1
    baseline: bool = False
    jobs: int = 1
    sizes: Mapping[str, int] | None = None
    progress: Progress = silent
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for number, what in ((self.threads, "threads"), (self.round_count, "rounds")):
            if number is not None and number < 1:
                raise InputError(f"{number} {what}; expected at least 1")

    @property
    def cohort_file(self) -> Path:
        """The file that holds the indexed cohort."""
        return self.out / "cohort" / "cohort.json"

    @property
    def teachers(self) -> Path:
        """Folder of the teachers and of the tumor model."""
        return self.out / "teachers"

    @property
    def teacher_files(self) -> list[Path]:
        """Files and folders of the teachers, whoever made them."""
        return list(self.given) or [self.teachers]

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.out / "bundle"

    @property
    def quality_file(self) -> Path:
        """The file that says how the expected Dice fared on the scans of its calibration."""
        return self.out / "quality.json"

    @property
    def student(self) -> Path:
        """The student of the last round."""
        return self.last_round().student

    @property
    def jobs_folder(self) -> Path:
        """What jobs on a cluster leave: logs, and a record of each."""
        return self.out / "jobs"

    def predictions(self, by: str) -> Path:
        """Return the folder of label maps by ``student``, ``teacher`` or ``baseline``."""
        return self.out / "predictions" / by

    def cohort(self) -> Cohort:
        """Read the indexed cohort."""
        return read_cohort(self.out / "cohort")

    def files(self, role: str) -> list[Path]:
        """Return images and labels of the cases with this role; none before ``index`` has run."""
        if not self.cohort_file.is_file():
            return []
        cases = [case for case in self.cohort() if case.role == role]
        return [path for case in cases for path in (case.image, case.label) if path is not None]

    def teacher_models(self) -> list[Path]:
        """Return the organ teachers, and the tumor model if the cohort has tumors annotated.

        They are the models that were given, if any were.
        """
        if self.given:
            return list(self.given)
        # The folder may still hold a tumor model from an earlier cohort.
        cohort = self.cohort()
        names = ["organs", *(["tumor"] if cohort.annotated_with(cohort.taxonomy.lesions) else [])]
        # Where several label, the last decides on the classes that it knows: the organ teachers on
        # organs, even if the tumor model has learned some.
        if self.preset.tumor_organs:
            names.reverse()
        return [self.teachers / name for name in names]

    def tumor_models(self) -> list[Path]:
        """Return the models laid over a student of organs; none if it learns tumors itself."""
        if self.preset.one_student or self.given:
            return []
        return [path for path in self.teacher_models() if path.name == "tumor"]

    def labelers(self) -> list[Path]:
        """Return the models that label for the student."""
        # A student of organs is not taught tumors: one over an organ would be a hole in it.
        overlay = self.tumor_models()
        return [path for path in self.teacher_models() if path not in overlay]

    def second_models(self) -> list[Path]:
        """Return the model of the cascade's second stage; none if the preset has no cascade."""
        return [] if self.preset.second is None else [self.out / "second"]

    def parts(self, *roles: str) -> tuple[Part, ...]:
        """Return the parts into which work on the cases of these roles is cut; () for one."""
        known = self.sizes
        most = self.jobs if known is None else sum(known.get(role, 0) for role in roles)
        count = min(self.jobs, most)
        return parts(count) if count > 1 else ()

    @property
    def keeps_probability(self) -> bool:
        """Whether a later stage needs the probability of each voxel's pseudo-label."""
        recipes = [
            recipe for recipe in (self.preset.student, self.preset.second) if recipe is not None
        ]
        distills = any(recipe.training.distill > 0 for recipe in recipes)
        return self.preset.select.ignore_below > 0 or distills

    @property
    def teacher_options(self) -> TeacherOptions:
        """How the teachers are run."""
        return TeacherOptions(
            decision=self.preset.decision,
            device=self.device,
            precision=self.preset.label_precision,
            threads=self.threads,
        )

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds of labeling, in order."""
        return rounds_of(self.out, self.round_count)

    def round_before(self, now: Round) -> Round | None:
        """Return the round before this one; None for the first."""
        return self.rounds[now.number - 2] if now.number > 1 else None

    def settled_round(self) -> Round | None:
        """Return the first round whose labels hardly changed, so that it has nothing to teach."""
        known: Sequence[str] = ()
        if self.round_count > 1 and self.cohort_file.is_file():
            known = [case.id for case in self.cohort().train()]
        return first_settled(self.rounds, known)

    def settled_by(self, last: Round) -> Outcome | None:
        """Return the outcome of a stage that has nothing to do because the labels have settled.

        Args:
            last: The last round that counts.

        Returns:
            None if the labels still changed in it, so that the stage has work to do.
        """
        settled = self.settled_round()
        if settled is None or settled.number > last.number:
            return None
        return Outcome(f"the labels hardly changed in round {settled.number}", skipped=True)

    def last_round(self) -> Round:
        """Return the last round that trains a student."""
        settled = self.settled_round()
        return self.rounds[-1] if settled is None else self.rounds[settled.number - 2]

    def notice(self, line: str) -> None:
        """Keep a line for the reader of the results."""
        self.notices.append(line)
        log.info("notice: %s", line)
