"""Reading a run's folder: what is in its files is of the right type, or is named as unreadable."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nnstudent.evaluation.evaluate import evaluate
from nnstudent.io.nifti import write_labels
from nnstudent.report import write_report
from nnstudent.report.load import load_run
from nnstudent.report.tables import paper_tables
from nnstudent.volume import Grid, Volume


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("scores")
    array = np.zeros((6, 20, 20), np.uint8)
    array[1:5, 2:12, 2:12] = 1
    array[2:4, 14:18, 14:18] = 14
    for name in ("truth", "student"):
        volume = Volume(array, Grid(array.shape, np.diag([3.0, 3.0, 5.0, 1.0])))
        write_labels(folder / name / "a.nii.gz", volume)
    found = evaluate(folder / "student", folder / "truth").to_dict()
    return json.loads(json.dumps(found))


def run_of(folder, scores):
    (folder / "scores").mkdir(parents=True, exist_ok=True)
    for name in ("student", "baseline"):
        (folder / "scores" / f"{name}.json").write_text(json.dumps(scores))
    return load_run(folder)


def test_sound_scores_are_read(tmp_path, scores):
    run = run_of(tmp_path, scores)
    assert not run.problems
    assert [method.key for method in run.methods] == ["baseline", "student"]
    assert run.methods[0].mean("liver", "dsc") == 1.0
    assert any(table.key == "lesions" for table in paper_tables(run))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data(), value=ANYTHING)
def test_whatever_stands_in_the_scores_the_report_is_made(tmp_path_factory, scores, data, value):
    """One entry, at any depth, is replaced by anything."""
    spoiled = copy.deepcopy(scores)
    place = spoiled
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = value
            break
        place = inner
    folder = tmp_path_factory.mktemp("run")
    run = run_of(folder, spoiled)
    paper_tables(run)
    for problem in run.problems:
        assert "scores/" in problem
    write_report(folder)
    assert (folder / "report.html").stat().st_size > 1000
