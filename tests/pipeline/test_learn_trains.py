"""A student really learns from corrections, is compared with its model, and takes its place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra [train] is not installed")

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.cohort.corrections import Corrections, Submission
from nnstudent.io.nifti import read_labels, write_image
from nnstudent.pipeline.learn import learn
from nnstudent.training.study import study
from tests.training.conftest import ALL, TABLE, ball_scan, tiny_recipe, write_case


@pytest.mark.slow
def test_a_student_learns_from_corrections_and_is_compared(tmp_path):
    cases = [write_case(tmp_path / "known", f"k{n}", n, ALL) for n in range(2)]
    write_cohort(tmp_path / "known", Cohort(TABLE, tuple(cases)))
    hardly = tiny_recipe(epochs=1, iterations=1)
    folder = study(tmp_path / "known", tmp_path / "base", hardly, device="cpu", threads=1)
    model = open_model(export(folder, tmp_path / "bundle", taxonomy=TABLE))

    corrections = Corrections(tmp_path / "corrected", TABLE)
    for number in range(3):
        image, labels = ball_scan(50 + number)
        path = tmp_path / f"p{number}.nii.gz"
        write_image(path, image)
        confirmed = ("left_ball", "right_ball") if number else ("left_ball",)
        corrections.add(Submission(f"p{number}", path, labels, confirmed, "anna", "2026-11-28"))

    more = tiny_recipe(epochs=6, iterations=12, lr=1e-2)
    steps = []
    learned = learn(
        corrections.folder,
        model,
        more,
        tmp_path / "students" / "0001",
        device="cpu",
        threads=1,
        progress=lambda what, done, total, note="": steps.append(what),
    )
    assert (learned.trained, learned.held_out) == (2, 1)
    assert set(learned.classes) == {"left_ball", "right_ball"}, "what was confirmed there"
    assert learned.before is not None
    assert learned.after is not None
    assert learned.better == (
        learned.after >= learned.before
        and all(now >= was - 0.05 for was, now in learned.classes.values())
    )
    assert learned.after > learned.before, learned.why
    assert open_model(learned.bundle).hash != model.hash
    assert set(open_model(learned.bundle).classes) == set(model.classes)
    assert {"segment", "evaluate"} <= set(steps)
    fused = tmp_path / "students" / "0001" / "fused" / "labels" / "p0.nii.gz"
    truth = read_labels(corrections.folder / "labels" / "p0.nii.gz").array
    # A tumor that the model finds may lie in an organ, as `fuse` has it: nobody looked for one.
    assert np.isin(read_labels(fused).array[truth == 7], (7, 20)).all()
