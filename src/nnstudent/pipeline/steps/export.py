"""``export``: the last round's ``student`` → ``bundle``.

The second stage and the tumor model are added if the preset has them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.ledger import LEDGER_NAME, iterate_ledger
from nnstudent.errors import InputError, MissingExtraError
from nnstudent.io.atomic import write_json
from nnstudent.pipeline.folder import RunFolder
from nnstudent.pipeline.stages import Outcome, Stage
from nnstudent.words import count


def stage(run: RunFolder) -> Stage:
    """Return the stage."""
    preset = run.preset.to_dict()
    trained = "second" if run.preset.second is not None else run.rounds[-1].stage_name("study")
    return Stage(
        "export",
        partial(work, run),
        needs=(trained,),
        reads=lambda: [run.student, run.teachers / "tumor", *run.second_models()],
        writes=[run.bundle],
        settings={key: preset[key] for key in ("student", "one_student", "tumor_organs", "int8")},
    )


def work(run: RunFolder) -> Outcome:
    """Write the bundle, also in int8 if the preset asks for it and it costs no DSC."""
    from nnstudent.bundle.export import export
    from nnstudent.inference.calibration import sample_cohort

    overlay, second = run.tumor_models(), next(iter(run.second_models()), None)
    write = partial(
        export,
        run.student,
        run.bundle,
        overlay=overlay,
        lesions_only=run.preset.tumor_organs,
        second=second,
        card=_card(run),
        progress=run.progress,
    )
    try:
        # Scans without a label of their own have those of the teachers.
        cohort = read_cohort(run.last_round().fused) if run.given else run.cohort()
        write(int8=partial(sample_cohort, cohort) if run.preset.int8 else None)
    except (InputError, MissingExtraError) as error:
        if not run.preset.int8:
            raise
        write()  # raises again if the error has nothing to do with int8
        run.notice(f"the bundle has no int8: {error}")
    _calibrate(run)
    size = sum(
        path.stat().st_size for path in run.bundle.rglob("*") if path.suffix in (".xml", ".bin")
    )
    parts = ["student"]
    parts += ["with second stage"] if second else []
    parts += ["with tumor model laid over"] if overlay else []
    return Outcome(f"{' '.join(parts)}, {size / 1e6:.1f} MB to run")


def _calibrate(run: RunFolder) -> None:
    """Calibrate the expected Dice on the cohort's test cases, if there are enough."""
    from nnstudent.evaluation.calibrate import calibrate_bundle, held_out, scans_of_cohort
    from nnstudent.quality.fit import LEAST_SCANS

    cohort = run.cohort()
    classes = cohort.taxonomy.names
    scans = scans_of_cohort(cohort, classes=classes) if held_out(cohort) else ()
    if len(scans) < LEAST_SCANS:
        run.quality_file.unlink(missing_ok=True)
        cases = count(len(scans), "labeled test case")
        run.notice(
            f"the bundle does not say which Dice to expect: {cases}, expected at least "
            f"{LEAST_SCANS} to calibrate that"
        )
        return
    truth = f"labels of the test cases of {run.source.name}"
    done = calibrate_bundle(run.bundle, scans, run.bundle, truth=truth, progress=run.progress)
    write_json(run.quality_file, done.to_dict())
    for failure in done.failures:
        run.notice(f"{failure.case}: left out of the expected Dice: {failure.reason}")


def _card(run: RunFolder) -> dict[str, Any]:
    last = run.last_round()
    cases_of: dict[str, set[str]] = {"truth": set(), "pseudo": set(), "dropped": set()}
    for row in iterate_ledger(last.fused / LEDGER_NAME):
        cases_of[row.origin].add(row.case)
    truth, pseudo = cases_of["truth"], cases_of["pseudo"]
    in_round = f", in round {last.number} of labeling" if last.number > 1 else ""
    cases = count(len(truth | pseudo), "case")
    return {
        "training_data": f"{cases} of {run.source.name}: {len(truth)} with labels of their own, "
        f"{len(pseudo)} with pseudo-labels (some have both){in_round}",
        "preset": run.preset.name,
    }
