"""One run's folder: its settings, where each thing lies in it, and what its stages share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.pipeline.preset import Preset
from nnstudent.pipeline.rounds import Round, rounds_in, settled_in
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy

log = logging.getLogger(__name__)


@dataclass
class RunFolder:
    """The settings and the folder of one run. The stages in ``steps`` read and write it.

    Attributes:
        source: What is indexed.
        out: The run's folder.
        preset: Recipes and stage settings.
        taxonomy: The label table, or None for the source's own.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads, or None for all.
        round_count: How many rounds of labelling there are at most, each by the student of the one before.
        baseline: Whether the student's network is also trained without pseudo-labels, to compare.
        progress: Called with how far a stage is.
        notices: What the stages had to say, a line each.
    """

    source: Path
    out: Path
    preset: Preset
    taxonomy: Taxonomy | None = None
    device: str = "auto"
    threads: int | None = None
    round_count: int = 1
    baseline: bool = False
    progress: Progress = silent
    notices: list[str] = field(default_factory=list)

    @property
    def cohort_file(self) -> Path:
        """The index of the cohort."""
        return self.out / "cohort" / "cohort.json"

    @property
    def teachers(self) -> Path:
        """Folder of the teachers and of the tumor model."""
        return self.out / "teachers"

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.out / "bundle"

    @property
    def student(self) -> Path:
        """The student of the last round."""
        return self.last_round().student

    def predictions(self, by: str) -> Path:
        """The test cases' label maps by ``student``, ``teacher`` or ``baseline``."""
        return self.out / "predictions" / by

    def cohort(self) -> Cohort:
        """The indexed cohort."""
        return read_cohort(self.out / "cohort")

    def files(self, role: str) -> list[Path]:
        """Images and labels of the cases with this role; empty before the cohort is indexed."""
        if not self.cohort_file.is_file():
            return []
        cases = [case for case in self.cohort() if case.role == role]
        return [path for case in cases for path in (case.image, case.label) if path is not None]

    def teacher_models(self) -> list[Path]:
        """The organ teachers, and the tumor model where the cohort has tumors annotated."""
        # The cohort decides, not the folder: a tumor model of an earlier cohort may still lie there.
        cohort = self.cohort()
        names = ["organs", *(["tumor"] if cohort.annotated_with(cohort.taxonomy.lesions) else [])]
        return [self.teachers / name for name in names]

    def tumor_models(self) -> list[Path]:
        """The models that are laid over a student of organs; none for a student of organs and tumors."""
        if self.preset.one_student:
            return []
        return [path for path in self.teacher_models() if path.name == "tumor"]

    def labelers(self) -> list[Path]:
        """The models that label for the student."""
        # A tumor over an organ, which a student of organs is not taught, would be a hole in that organ.
        overlay = self.tumor_models()
        return [path for path in self.teacher_models() if path not in overlay]

    def second_models(self) -> list[Path]:
        """The model of a cascade's second stage; none where the preset has no cascade."""
        return [] if self.preset.second is None else [self.out / "second"]

    @property
    def keeps_probability(self) -> bool:
        """Whether a later stage needs the probability of each voxel of a pseudo-label."""
        recipes = [
            recipe for recipe in (self.preset.student, self.preset.second) if recipe is not None
        ]
        distills = any(recipe.training.distill > 0 for recipe in recipes)
        return self.preset.select.ignore_below > 0 or distills

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds of labelling, in order."""
        return rounds_in(self.out, self.round_count)

    def round_before(self, now: Round) -> Round | None:
        """The round before this one; None before the first."""
        return self.rounds[now.number - 2] if now.number > 1 else None

    def settled_round(self) -> Round | None:
        """The first round whose labels hardly change, so that it has nothing new to teach."""
        known: Sequence[str] = ()
        if self.round_count > 1 and self.cohort_file.is_file():
            known = [case.id for case in self.cohort().train()]
        return settled_in(self.rounds, known)

    def last_round(self) -> Round:
        """The last round that trains a student."""
        settled = self.settled_round()
        return self.rounds[-1] if settled is None else self.rounds[settled.number - 2]

    def notice(self, line: str) -> None:
        """Keep a line that a reader of the results should know."""
        self.notices.append(line)
        log.info("notice: %s", line)
