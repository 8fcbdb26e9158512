"""The stages of a run: what each reads, writes, needs and does. Stages meet on disk only."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.atomic import write_json
from nnstudent.pipeline.rounds import Round, rounds_in, settled_in
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.progress import Progress, silent
from nnstudent.taxonomy import Taxonomy
from nnstudent.training.preset import Preset
from nnstudent.training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass
class RunFolder:
    """The path from a source to a report, in one run's folder.

    Attributes:
        source: What is indexed.
        out: The run's folder.
        preset: Recipes and stage settings.
        taxonomy: The label table, or None for the source's own.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Processor threads, or None for all.
        rounds: Rounds of labelling at most, each by the student of the one before.
        baseline: Whether the student's network is also trained without pseudo-labels, to compare.
        progress: Told how far a stage is.
        notices: What the stages had to say, a line each.
    """

    source: Path
    out: Path
    preset: Preset
    taxonomy: Taxonomy | None = None
    device: str = "auto"
    threads: int | None = None
    rounds: int = 1
    baseline: bool = False
    progress: Progress = silent
    notices: list[str] = field(default_factory=list)

    @property
    def student(self) -> Path:
        """The student of the last round."""
        return self._last().student

    def stages(self) -> list[Stage]:
        """The stages in order."""
        at, preset = self.out, self.preset.to_dict()
        teachers = {key: preset[key] for key in ("teachers", "tumor", "folds", "tumor_folds")}
        student = {key: preset[key] for key in ("student", "one_student")}
        second = {key: preset[key] for key in ("second", "second_classes")}
        last = self._rounds[-1]
        cascade = [
            Stage("second", partial(self.second, recipe), (last.called("study"),), lambda: [self._last().fused], [at / "second"], second)
            for recipe in (self.preset.second,)
            if recipe is not None
        ]
        cohort = at / "cohort" / "cohort.json"

        def train() -> list[Path]:
            return [cohort, *self._files("train")]

        def test() -> list[Path]:
            return [*self._files("test")]

        stages = [
            Stage("index", self.index, (), lambda: [self.source], [cohort], None if self.taxonomy is None else self.taxonomy.to_dict()),
            Stage("teach", self.teach, ("index",), train, [at / "teachers"], teachers),
            *(stage for one in self._rounds for stage in self._round(one, train, preset["select"], student)),
            *cascade,
            Stage(
                "export",
                self.export,
                ("second" if cascade else last.called("study"),),
                lambda: [self.student, at / "teachers" / "tumor", *self._second()],
                [at / "bundle"],
                {**student, "int8": preset["int8"]},
            ),
            Stage("segment", self.segment, ("export",), lambda: [*test(), at / "bundle"], [at / "predictions" / "student"]),
            Stage("profile", self.profile, ("export",), lambda: [*test(), at / "bundle"], [at / "efficiency"]),
            Stage("ensemble", self.ensemble, ("teach",), lambda: [*test(), at / "teachers"], [at / "predictions" / "teacher"]),
            Stage(
                "baseline", self.alone, ("index",), lambda: [*train(), *test()], [at / "baseline", at / "predictions" / "baseline"], student
            ),
            Stage("evaluate", self.evaluate, ("segment",), lambda: [*test(), at / "predictions"], [at / "scores"]),
            Stage("report", self.report, ("index",), lambda: [at / "scores"], [at / "report.html"], sums_up=True),
        ]
        return [stage for stage in stages if self.baseline or stage.name != "baseline"]

    def _round(self, now: Round, train: Callable[[], list[Path]], select: Any, student: Any) -> list[Stage]:
        """The stages of one round."""
        before = self._before(now)
        label, chosen, study = (now.called(name) for name in ("label", "select", "study"))
        teachers = [self.out / "teachers"] if before is None else [before.student, before.pseudo]
        # Whether a later round has anything to teach is told by its pseudo-labels.
        fused = [now.fused] if before is None else [now.fused, now.pseudo]
        return [
            Stage(
                label,
                partial(self.label, now),
                ("teach",) if before is None else (before.called("study"),),
                lambda: [*train(), *teachers],
                [now.pseudo],
                [self.preset.decision, self._probability, self.preset.one_student],
            ),
            Stage(chosen, partial(self.select, now), (label,), lambda: [*train(), now.pseudo], [now.fused], [select, student]),
            Stage(study, partial(self.study, now), (chosen,), lambda: fused, [now.student], student),
        ]

    def index(self) -> Outcome:
        """Source → ``cohort``."""
        from nnstudent.cohort.index import index

        found = index(self.source, self.out / "cohort", taxonomy=self.taxonomy, threads=self.threads, progress=self.progress)
        cohort = found.cohort
        for line in found.notices:
            self._notice(line)
        if not cohort.train():
            first = f" (the first: {cohort.broken[0].case}: {cohort.broken[0].reason})" if cohort.broken else ""
            raise InputError(
                f"{self.source}: no usable case to learn from; {len(cohort.test())} for testing only, {len(cohort.broken)} broken{first}"
            )
        table = cohort.taxonomy
        never = [name for name in self.preset.second_classes if not any(name in case.annotated for case in cohort.train())]
        if never:  # known before days of training
            raise InputError(f"second_classes of the preset: {', '.join(never)} annotated in no training case; leave it out")
        full, test = len(cohort.annotated_with(table.organs)), len(cohort.test())
        if table.lesions and not any(cohort.annotated_with([name]) for name in table.lesions):
            self._notice(f"no case has {' or '.join(table.lesions)} annotated; the path goes on without")
        if not test:
            self._notice("no case has the role test; nothing is segmented or scored")
        partial = sum(bool(case.annotated) for case in cohort.lacking(table.organs))
        unlabeled = len(cohort.train()) - full - partial
        detail = f"{full} cases fully, {partial} partly and {unlabeled} not labeled, {test} for testing; label table {table.name}"
        return Outcome(detail, cohort.broken)

    def teach(self) -> Outcome:
        """``cohort`` → ``teachers``."""
        from nnstudent.training.teach import teach

        done = teach(self._cohort(), self.out / "teachers", self.preset, device=self.device, threads=self.threads, progress=self.progress)
        parts = [f"{name}: {len(part.folds)} folds" for name, part in (("organs", done.organs), ("tumor", done.tumor)) if part is not None]
        return Outcome(", ".join(parts), done.failures)

    def label(self, now: Round) -> Outcome:
        """``cohort`` and ``teachers``, or the student of the round before → ``pseudo``."""
        from nnstudent.pseudo.label import label

        settled = self._settled()
        if settled is not None and settled.number < now.number:
            return self._unchanged(settled)
        before = self._before(now)
        done = label(
            self._cohort(),
            now.pseudo,
            teachers=self._labelers() if before is None else [before.student],
            round=now.number,
            before=None if before is None else before.pseudo,
            decision=self.preset.decision,
            probability=self._probability,
            device=self.device,
            threads=self.threads,
            progress=self.progress,
        )
        told = [sum(item.agreement.values()) / len(item.agreement) for item in done.labels if item.agreement]
        agreed = f", folds agree {sum(told) / len(told):.2f} on average" if told else ""
        changed = "" if done.change is None else f", {100 * done.change:.1f} % of the foreground changed"
        if self._settled() == now:
            self._notice(f"round {now.number} changes {100 * (done.change or 0):.1f} % of the foreground: no further student is trained")
        return Outcome(f"{len(done.labels)} cases{agreed}{changed}", done.failures)

    def select(self, now: Round) -> Outcome:
        """``cohort`` and ``pseudo`` → ``fused``."""
        from nnstudent.pseudo.select import select

        settled = self._settled()
        if settled is not None and settled.number <= now.number:
            return self._unchanged(settled)
        cohort = self._cohort()
        classes = self.preset.student_classes(cohort.taxonomy)
        done = select(cohort, now.pseudo, now.fused, settings=self.preset.select, classes=classes, progress=self.progress)
        for choice in done.decisions:
            log.debug("%s %s: %s", "kept" if choice.kept else "dropped", choice.case, choice.why)
        filled = sum(choice.kept and bool(choice.filled) for choice in done.decisions)
        if not filled and any(not choice.kept or choice.open for choice in done.decisions):
            ledger = (now.fused / "ledger.jsonl").relative_to(self.out)
            self._notice(f"no pseudo-label was good enough to learn from; {ledger} says why for each case")
        detail = f"{len(done.kept)} of {len(done.decisions)} cases kept, {filled} with pseudo-labels; {len(done.classes)} classes"
        return Outcome(detail, done.failures)

    def study(self, now: Round) -> Outcome:
        """``fused`` → ``student``."""
        from nnstudent.training.study import study_result

        settled = self._settled()
        if settled is not None and settled.number <= now.number:
            return self._unchanged(settled)
        done = study_result(now.fused, now.student, self.preset, device=self.device, threads=self.threads, progress=self.progress)
        return Outcome(f"{len(done.classes)} classes", done.failures)

    def second(self, recipe: Recipe) -> Outcome:
        """``fused`` of the last round → ``second``, the second stage of a cascade."""
        from nnstudent.training.study import study_result

        preset = replace(self.preset, student=recipe)
        out, only = self.out / "second", self.preset.second_classes
        done = study_result(self._last().fused, out, preset, only=only, device=self.device, threads=self.threads, progress=self.progress)
        return Outcome(f"{len(done.classes)} classes again", done.failures)

    def export(self) -> Outcome:
        """``student`` of the last round (and ``second``, and the tumor model, in presets that have them) → ``bundle``."""
        from nnstudent.bundle.export import export
        from nnstudent.inference.calibration import sample_cohort

        overlay, second, bundle = self._overlay(), next(iter(self._second()), None), self.out / "bundle"
        write = partial(export, self.student, bundle, overlay=overlay, second=second, card=self._card(), progress=self.progress)
        try:
            write(int8=partial(sample_cohort, self._cohort()) if self.preset.int8 else None)
        except (InputError, MissingExtraError) as error:
            if not self.preset.int8:
                raise
            write()  # which raises again what has nothing to do with int8
            self._notice(f"the bundle holds no int8: {error}")
        size = sum(path.stat().st_size for path in bundle.rglob("*") if path.suffix in (".xml", ".bin"))
        more = [what for what, there in (("second stage", second), ("tumor model laid over", overlay)) if there]
        return Outcome(f"student{' with ' if more else ''}{' and '.join(more)}, {size / 1e6:.1f} MB to run")

    def segment(self) -> Outcome:
        """``bundle`` and the test cases → ``predictions/student``."""
        from nnstudent.inference.segmenter import Segmenter
        from nnstudent.pipeline.predict import predict

        cases, out = self._cohort().test(), self.out / "predictions" / "student"
        if not cases:
            return Outcome("no test case", skipped=True)
        segmenter = Segmenter(self.out / "bundle", threads=self.threads, windows="guided")  # as the command does
        failures = predict(cases, out, segmenter, progress=self.progress)
        return Outcome(f"{len(cases) - len(failures)} test cases", failures)

    def profile(self) -> Outcome:
        """``bundle`` and some test cases → ``efficiency``: time and memory of ``segment`` as a process of its own."""
        from nnstudent.pipeline.efficiency import measure, spread

        cases = spread(self._cohort().test())
        if not cases:
            return Outcome("no test case", skipped=True)
        failures = measure(cases, self.out / "bundle", self.out / "efficiency", threads=self.threads, progress=self.progress)
        return Outcome(f"{len(cases) - len(failures)} test cases", failures)

    def ensemble(self) -> Outcome:
        """``teachers`` and the test cases → ``predictions/teacher``: how good who wrote the pseudo-labels is."""
        from nnstudent.pseudo.label import label_cases
        from nnstudent.pseudo.teacher import open_teacher

        cohort = self._cohort()
        if not cohort.test():
            return Outcome("no test case", skipped=True)
        teachers = [
            open_teacher(path, cohort.taxonomy, decision=self.preset.decision, device=self.device, threads=self.threads)
            for path in self._teachers()
        ]
        out = self.out / "predictions" / "teacher"
        done = label_cases(cohort.test(), out, teachers, taxonomy=cohort.taxonomy, everything=True, progress=self.progress)
        return Outcome(f"{len(done.labels)} test cases by the teachers", done.failures)

    def alone(self) -> Outcome:
        """Fully labeled cases only → ``baseline``, ``predictions/baseline``: the student's network without pseudo-labels.

        It learns organs only, as the paper's does: a case whose organs are all annotated need not have its tumors annotated.
        """
        from nnstudent.inference.segmenter import Segmenter
        from nnstudent.pipeline.predict import predict
        from nnstudent.pseudo.select import select
        from nnstudent.training.study import study

        cohort, at = self._cohort(), self.out / "baseline"
        chosen = select(cohort, at / "no_pseudo_labels", at / "fused", classes=cohort.taxonomy.organs, progress=self.progress)
        preset = replace(self.preset, one_student=False)
        model = study(at / "fused", at / "student", preset, device=self.device, threads=self.threads, progress=self.progress)
        out = self.out / "predictions" / "baseline"
        failures = predict(cohort.test(), out, Segmenter(model, threads=self.threads, windows="guided"), progress=self.progress)
        return Outcome(f"the student's network on {len(chosen.kept)} fully labeled cases", failures)

    def evaluate(self) -> Outcome:
        """``predictions`` and the test cases' labels → ``scores``, over all annotated organs and over whole ones only."""
        from nnstudent.evaluation.evaluate import evaluate

        cohort = self._cohort()
        if not any(case.label is not None for case in cohort.test()):
            self._notice("no test case has labels; nothing is scored")
            return Outcome("no test case with labels", skipped=True)
        details = []
        failures = []
        for who in ("student", "teacher", *(["baseline"] if self.baseline else [])):
            folder = self.out / "predictions" / who
            if not any(folder.glob("*.nii.gz")):
                continue
            scores = evaluate(folder, cohort, which="test", progress=self.progress)
            write_json(self.out / "scores" / f"{who}.json", scores.to_dict())
            whole = evaluate(folder, cohort, which="test", whole_organs=True)
            write_json(self.out / "scores" / f"{who}.whole.json", whole.to_dict())
            mean = scores.means()["organs"]
            details.append(f"{who} {mean.dsc:.3f}")
            failures += list(scores.failures) if who == "student" else []
        return Outcome(f"mean organ DSC: {', '.join(details)}", failures)

    def report(self) -> Outcome:
        """Everything → ``report.html``."""
        from nnstudent.evaluation.report import write_report

        return Outcome(str(write_report(self.out)))

    @property
    def _probability(self) -> bool:
        recipes = [recipe for recipe in (self.preset.student, self.preset.second) if recipe is not None]
        return self.preset.select.ignore_below > 0 or any(recipe.training.distill > 0 for recipe in recipes)

    def _cohort(self) -> Cohort:
        return read_cohort(self.out / "cohort")

    def _files(self, role: str) -> Sequence[Path]:
        if not (self.out / "cohort" / "cohort.json").is_file():
            return ()
        cases = [case for case in self._cohort() if case.role == role]
        return [path for case in cases for path in (case.image, case.label) if path is not None]

    def _teachers(self) -> list[Path]:
        # Asked of the cohort, not of the folder: a tumor model of an earlier cohort may still lie there.
        cohort = self._cohort()
        names = ["organs", *(["tumor"] if cohort.annotated_with(cohort.taxonomy.lesions) else [])]
        return [self.out / "teachers" / name for name in names]

    def _labelers(self) -> list[Path]:
        # A tumor over an organ, which a student of organs is not taught, would be a hole in that organ.
        overlay = self._overlay()
        return [path for path in self._teachers() if path not in overlay]

    def _overlay(self) -> list[Path]:
        return [] if self.preset.one_student else [path for path in self._teachers() if path.name == "tumor"]

    def _second(self) -> list[Path]:
        return [] if self.preset.second is None else [self.out / "second"]

    @property
    def _rounds(self) -> tuple[Round, ...]:
        return rounds_in(self.out, self.rounds)

    def _before(self, now: Round) -> Round | None:
        return self._rounds[now.number - 2] if now.number > 1 else None

    def _settled(self) -> Round | None:
        known = (self.out / "cohort" / "cohort.json").is_file()
        return settled_in(self._rounds, [case.id for case in self._cohort().train()] if known and self.rounds > 1 else ())

    def _last(self) -> Round:
        """The last round that trains a student."""
        settled = self._settled()
        return self._rounds[-1] if settled is None else self._rounds[settled.number - 2]

    def _unchanged(self, settled: Round) -> Outcome:
        return Outcome(f"nothing has changed in round {settled.number}", skipped=True)

    def _card(self) -> dict[str, Any]:
        last = self._last()
        rows = [json.loads(line) for line in (last.fused / "ledger.jsonl").read_text("utf-8").splitlines()]
        cases = {origin: sorted({row["case"] for row in rows if row["origin"] == origin}) for origin in ("truth", "pseudo")}
        return {
            "training_data": f"{len(set(cases['truth']) | set(cases['pseudo']))} cases of {self.source.name}: {len(cases['truth'])} with "
            f"labels of their own, {len(cases['pseudo'])} with pseudo-labels (some have both)"
            + (f", in round {last.number} of labelling" if last.number > 1 else ""),
            "preset": self.preset.name,
        }

    def _notice(self, line: str) -> None:
        self.notices.append(line)
        log.info("notice: %s", line)
