"""``evaluate``: ``predictions`` and the test cases' labels → ``scores``.

The scores are over all annotated organs and over whole organs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cohort.cohort import Cohort
from nnstudent.evaluation.shared import Share
from nnstudent.io.atomic import write_json
from nnstudent.io.parts import Part
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Piece, Stage

if TYPE_CHECKING:
    from nnstudent.evaluation.scores import Scores


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "evaluate",
        partial(work, run),
        needs=("segment",),
        reads=lambda: [*run.files("test"), run.out / "predictions"],
        writes=[run.out / "scores"],
        pieces=[Piece(part.name, partial(score_part, run, part)) for part in run.parts("test")],
        merge=partial(merge, run),
    )


def work(run: RunFolder) -> Outcome:
    """Score the student, its teachers and the baseline."""
    return _score(run, lambda _: None)


def score_part(run: RunFolder, part: Part) -> Outcome:
    """Score one part of the test cases."""
    cohort = run.cohort()
    if not _has_truth(cohort):
        return Outcome("no test case with labels", skipped=True)
    for who in _predicted(run):
        for whole in (False, True):
            share = Share(_folder(run, who, whole=whole), part)
            _scores(run, cohort, who, whole=whole, share=share)
    return Outcome(f"part {part}")


def merge(run: RunFolder, pieces: Sequence[Outcome]) -> Outcome:
    """Put the scores of the parts together."""
    return _score(run, lambda folder: Share(folder, merge=len(pieces)))


def _score(run: RunFolder, share: Callable[[Path], Share | None]) -> Outcome:
    cohort = run.cohort()
    if not _has_truth(cohort):
        run.notice("no test case has labels; nothing is scored")
        return Outcome("no test case with labels", skipped=True)
    details, failures = [], []
    for who in _predicted(run):
        for whole in (False, True):
            shared = share(_folder(run, who, whole=whole))
            scores = _scores(run, cohort, who, whole=whole, share=shared)
            name = f"{who}.whole.json" if whole else f"{who}.json"
            write_json(run.out / "scores" / name, scores.to_dict())
            if whole:
                continue
            details.append(f"{who} {scores.means()['organs'].dsc:.3f}")
            failures += list(scores.failures) if who == "student" else []
    return Outcome(f"mean organ DSC: {', '.join(details)}", failures)


def _scores(
    run: RunFolder, cohort: Cohort, who: str, *, whole: bool, share: Share | None
) -> Scores:
    from nnstudent.evaluation.evaluate import evaluate

    return evaluate(
        run.predictions(who),
        cohort,
        subset="test",
        whole_organs=whole,
        share=share,
        progress=run.progress,
    )


def _has_truth(cohort: Cohort) -> bool:
    return any(case.label is not None for case in cohort.test())


def _predicted(run: RunFolder) -> list[str]:
    """Return who has predicted test cases."""
    methods = ("student", "teacher", *(["baseline"] if run.baseline else []))
    return [who for who in methods if any(run.predictions(who).glob("*.nii.gz"))]


def _folder(run: RunFolder, who: str, *, whole: bool) -> Path:
    """Return where the parts keep their scores until they are merged."""
    return run.jobs_folder / "scores" / (f"{who}.whole" if whole else who)
