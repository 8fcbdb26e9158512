"""The planes that are shown, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.io.atomic import write_json
from nnstudent.report import write_report
from nnstudent.report.slices import View, around_organs, cut, draw, find_view
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.evaluation.scenes import GRID, SHAPE, ct, organs

pytest.importorskip("jinja2", reason="the report needs the extra [report]")
pytest.importorskip("matplotlib", reason="the report needs the extra [report]")

TABLE = flare23()


def test_planes_show_most_classes_and_what_they_are_cut_to_holds_all_labels():
    labels = Volume(organs(tumor=True), GRID).reoriented()
    box = around_organs(labels)
    assert np.count_nonzero(labels.array[box]) == np.count_nonzero(labels.array)
    view = find_view(labels, "axial")
    counts = [len(np.unique(plane)) for plane in labels.array]
    assert counts[view.index] == max(counts)
    empty = Volume(np.zeros(SHAPE, np.uint8), GRID)
    assert find_view(empty, "coronal") == View("coronal", SHAPE[1] // 2)
    assert around_organs(empty) == tuple(slice(0, size) for size in SHAPE)
    part = cut(labels, (slice(2, 9), slice(3, 20), slice(4, 20)))
    corner = part.grid.affine @ [0, 0, 0, 1]
    assert corner == pytest.approx(labels.grid.affine @ [4, 3, 2, 1])


def test_labels_are_drawn_in_the_tables_colors():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 8:16, 8:16] = 1
    volume = Volume(labels, GRID).reoriented()
    image = Volume(ct(labels), GRID).reoriented()
    picture = draw(image, volume, view=View("axial", 5), taxonomy=TABLE)
    center = np.asarray(picture).astype(int)[picture.height // 2, picture.width // 2]
    assert center[0] > center[2] + 10  # liver's is a warm color, over gray
    bare = draw(
        image,
        Volume(np.zeros_like(volume.array), volume.grid),
        view=View("axial", 5),
        taxonomy=TABLE,
    )
    assert np.ptp(np.asarray(bare).astype(int), axis=2).max() < 12


def test_a_real_scan_is_drawn(real_data, tmp_path):
    folder = real_data / "ts_example"
    labels = folder / "label.nii.gz"
    case = Case(
        "ts_example",
        folder / "ct.nii.gz",
        labels,
        frozenset(TABLE.organs) - {"esophagus"},
        True,
        "test",
    )
    write_cohort(tmp_path / "cohort", Cohort(TABLE, (case,)))
    (tmp_path / "predictions" / "student").mkdir(parents=True)
    (tmp_path / "predictions" / "student" / "ts_example.nii.gz").write_bytes(labels.read_bytes())
    scores = evaluate(tmp_path / "predictions" / "student", read_cohort(tmp_path / "cohort"))
    write_json(tmp_path / "scores" / "student.json", scores.to_dict())
    html = write_report(tmp_path).read_text()
    assert "Only case: ts_example, organ DSC 100.0 %" in html
    assert html.count("<figure>") == 4
