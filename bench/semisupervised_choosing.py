"""Choices of bench/semisupervised.py on patients that nothing learns from or is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common import (
    Row,
    add_row,
    commit,
    export_once,
    organ_means,
    read_rows,
    score_test_cases,
    scores_by_case,
)
from bench.semisupervised_arms import CHOICES, LABELS, Arm
from bench.semisupervised_pieces import Bench
from nnstudent.errors import InputError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.scores import Scores
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pseudo.label import label_cases
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.pseudo.teacher import open_teachers


def choose(bench: Bench, rows: Path, experiment: str, *, seeds: Sequence[int]) -> None:
    """Make every missing row of a choice, on other patients than those of the test."""
    for seed in seeds:
        for arm in bench.by_rule(CHOICES[experiment]):
            if _made(rows, bench.row(arm, seed)) is None:
                print(f"{arm.experiment}: {arm.name}, seed {seed}", flush=True)
                add_row(rows, chosen_row(bench, arm, seed))


def check_labels(bench: Bench, rows: Path, seed: int) -> None:
    """Refuse to learn from pseudo-labels that are no better than the network without them.

    Args:
        bench: The pieces.
        rows: The file of the rows on the patients for choosing.
        seed: The seed.

    Raises:
        InputError: They are not.
    """
    choose(bench, rows, "labels", seeds=[seed])
    made = (_made(rows, bench.row(arm, seed)) for arm in bench.by_rule(CHOICES["labels"]))
    alone, labels = (row["organ_dsc"] for row in made if row is not None)
    said = f"organ DSC {100 * labels:.1f}, the small network without them {100 * alone:.1f}"
    if labels <= alone:
        raise InputError(
            f"seed {seed}: on the patients for choosing the pseudo-labels have {said}; "
            "nothing can be gained from them, mend the teachers first"
        )
    print(f"seed {seed}: on the patients for choosing the pseudo-labels have {said}", flush=True)


def _made(rows: Path, mark: Row) -> Row | None:
    """The row that a mark identifies, if it was made."""
    for row in read_rows(rows):
        if all(row.get(key) == value for key, value in mark.items()):
            return row
    return None


def chosen_row(bench: Bench, arm: Arm, seed: int) -> dict[str, Any]:
    """A row on the patients for choosing: of an arm's network, or of its pseudo-labels.

    No test case is segmented. The arm ``pseudo-labels`` is not trained; how good these are is its
    row.
    """
    cohort = bench.choosing
    if arm.name != LABELS:
        at = bench.work / f"seed{seed}" / "choosing"
        bundle = export_once(
            [bench.network(arm, seed)],
            at / f"{arm.key}-bundle",
            record=at / f"{arm.key}.json",
            progress=bench.progress,
        )
        scores, _ = score_test_cases(
            cohort,
            Segmenter(bundle, threads=bench.threads),
            at / arm.key,
            name=arm.key,
            progress=bench.progress,
        )
    else:
        scores = _labels_scored(bench, arm, seed)
    means = organ_means(scores)
    return {
        **bench.row(arm, seed),
        "patients": "choosing",
        "commit": commit(),
        **{name: means[name] for name in ("organ_dsc", "organ_nsd")},
        "cases": scores_by_case(scores),
    }


def _labels_scored(bench: Bench, arm: Arm, seed: int) -> Scores:
    """The pseudo-labels that an arm's teachers make of the patients for choosing."""
    out = bench.work / f"seed{seed}" / "choosing" / arm.decision
    cohort = bench.choosing
    teachers = open_teachers(
        bench.labelers(arm, seed),
        cohort.taxonomy,
        options=TeacherOptions(decision=arm.decision, threads=bench.threads),
    )
    labeled = label_cases(
        cohort.test(),
        out,
        teachers=teachers,
        taxonomy=cohort.taxonomy,
        every_teacher=True,
        progress=bench.progress,
    )
    scores = evaluate(out, cohort, subset="test", progress=bench.progress)
    if labeled.failures or scores.failures:
        raise InputError(
            f"{[*labeled.failures, *scores.failures][0]}; "
            "every patient for choosing must be labeled and scored, call again"
        )
    return scores
