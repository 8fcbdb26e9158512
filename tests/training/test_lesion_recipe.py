"""Training by a recipe for lesions.

It has painted lesions, replay, an intensity window and the average of the weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.cohort.cohort import Case, Cohort, write_cohort  # noqa: E402
from nnstudent.errors import InputError  # noqa: E402
from nnstudent.io.nifti import write_image, write_labels  # noqa: E402
from nnstudent.taxonomy import LabelClass, Taxonomy  # noqa: E402
from nnstudent.training.recipe import Recipe  # noqa: E402
from nnstudent.training.study import study  # noqa: E402
from tests.training.conftest import ball_scan, tiny_recipe  # noqa: E402

ORGANS = Taxonomy(
    "two", (LabelClass(7, "liver"), LabelClass(3, "spleen"), LabelClass(20, "tumor", kind="lesion"))
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of a liver and a spleen; in one nobody looked for tumors."""
    folder = tmp_path_factory.mktemp("two")
    cases = []
    for seed, annotated in enumerate((ORGANS.names, ORGANS.organs)):
        image, labels = ball_scan(seed)
        if "tumor" not in annotated:
            labels.array[labels.array == 20] = 7
        write_image(folder / f"{seed}.nii.gz", image)
        write_labels(folder / f"{seed}_label.nii.gz", labels)
        cases.append(
            Case(
                f"c{seed}",
                folder / f"{seed}.nii.gz",
                folder / f"{seed}_label.nii.gz",
                frozenset(annotated),
                True,
                "train",
            )
        )
    write_cohort(folder, Cohort(ORGANS, tuple(cases)))
    return folder


def recipe(**training: object) -> Recipe:
    plain = tiny_recipe(
        partial="marginal", iterations=4, paint_lesions=1.0, ema=0.9, replay=0.5, **training
    )
    return replace(
        plain, data=replace(plain.data, window_hu=(-150.0, 250.0), focus=("liver", "tumor"))
    )


def test_it_trains_in_its_window_and_leaves_the_average(cohort: Path, tmp_path: Path) -> None:
    model = study(cohort, tmp_path / "model", recipe())
    facts = json.loads((model / "plans.json").read_text())[
        "foreground_intensity_properties_per_channel"
    ]["0"]
    assert (facts["percentile_00_5"], facts["percentile_99_5"]) == (-150.0, 250.0)
    assert -150 < facts["mean"] < 250
    assert facts["std"] < 200
    final = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert "last_weights" not in final
    assert all(torch.isfinite(value).all() for value in final["network_weights"].values())


def test_where_no_class_bears_a_lesion_it_says_so(cohort: Path, tmp_path: Path) -> None:
    table = json.loads(
        (cohort / "cohort.json")
        .read_text()
        .replace('"liver"', '"heart"')
        .replace('"spleen"', '"lung"')
    )
    folder = tmp_path / "cohort"
    folder.mkdir()
    for file in cohort.glob("*.nii.gz"):
        (folder / file.name).symlink_to(file)
    (folder / "cohort.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="none of the classes can bear a lesion, only"):
        study(folder, tmp_path / "model", recipe())
