"""``evaluate``: ``predictions`` and the test cases' labels → ``scores``.

The scores are over all annotated organs and over whole organs only.
"""

from __future__ import annotations

from functools import partial

from nnstudent.io.atomic import write_json
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    return Stage(
        "evaluate",
        partial(work, run),
        needs=("segment",),
        reads=lambda: [*run.files("test"), run.out / "predictions"],
        writes=[run.out / "scores"],
    )


def work(run: RunFolder) -> Outcome:
    """Score the student, its teachers and the baseline."""
    from nnstudent.evaluation.evaluate import evaluate

    cohort = run.cohort()
    if not any(case.label is not None for case in cohort.test()):
        run.notice("no test case has labels; nothing is scored")
        return Outcome("no test case with labels", skipped=True)
    details, failures = [], []
    for who in ("student", "teacher", *(["baseline"] if run.baseline else [])):
        folder = run.predictions(who)
        if not any(folder.glob("*.nii.gz")):
            continue
        scores = evaluate(folder, cohort, subset="test", progress=run.progress)
        write_json(run.out / "scores" / f"{who}.json", scores.to_dict())
        whole = evaluate(folder, cohort, subset="test", whole_organs=True)
        write_json(run.out / "scores" / f"{who}.whole.json", whole.to_dict())
        details.append(f"{who} {scores.means()['organs'].dsc:.3f}")
        failures += list(scores.failures) if who == "student" else []
    return Outcome(f"mean organ DSC: {', '.join(details)}", failures)
