from __future__ import annotations

import pytest

from nnstudent.evaluation.evaluate import evaluate
from nnstudent.io.atomic import write_json
from tests.evaluation.scenes import make_cohort, organs, save


@pytest.fixture
def run(tmp_path):
    """A run of four test cases: real scores of student, of baseline (worse), and of teachers."""
    folder = tmp_path / "RUN_1"
    cohort = make_cohort(folder / "cohort", test=4)
    for who, shifts in (
        ("teacher", (0, 1, 1, 0)),
        ("baseline", (1, 1, 1, 1)),
        ("student", (0, 0, 1, 0)),
    ):
        for case, shift in zip(cohort.test(), shifts, strict=True):
            save(
                folder / "predictions" / who / f"{case.id}.nii.gz",
                organs(shift=shift, tumor=case.id != "test_05"),
            )
            write_json(
                folder / "predictions" / who / f"{case.id}.json",
                {"id": case.id, "seconds": {"total": 2.5 + shift}},
            )
        write_json(
            folder / "scores" / f"{who}.json",
            evaluate(folder / "predictions" / who, folder / "cohort").to_dict(),
        )
    return folder
