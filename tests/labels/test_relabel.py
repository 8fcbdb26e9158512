"""Label maps renamed, merged, renumbered; the right side told from the left."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnstudent.errors import InputError
from nnstudent.evaluation.declared import declared_table
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.labels.class_maps import find_map
from nnstudent.labels.relabel import _agreed, relabel
from nnstudent.taxonomy import Taxonomy, flare23
from nnstudent.volume import Grid, Volume

TABLE = flare23()
GRID = Grid((8, 40, 60), np.diag([4.0, 4.0, 5.0, 1.0]))  # x to the right


def blocks(**boxes: tuple[int, int]) -> Volume:
    """Boxes along x, by value: v1=(from, to)."""
    array = np.zeros(GRID.shape, np.uint8)
    for value, (start, stop) in boxes.items():
        array[2:6, 10:20, start:stop] = int(value[1:])
    return Volume(array, GRID)


def run(sources, out, text=None, **options):
    class_map = None if text is None else find_map(text, taxonomy=TABLE)
    return relabel(sources, out, taxonomy=TABLE, class_map=class_map, **options)


def names_in(path) -> dict[str, int]:
    values, counts = np.unique(read_labels(path).array, return_counts=True)
    return {
        TABLE.by_id(v).name: c for v, c in zip(values.tolist(), counts.tolist(), strict=True) if v
    }


def test_the_values_of_another_tool_become_those_of_the_table(tmp_path):
    write_labels(tmp_path / "in" / "a.nii.gz", blocks(v5=(5, 10), v1=(20, 25), v51=(40, 45)))
    done = run([tmp_path / "in"], tmp_path / "out", "totalsegmentator")
    assert names_in(done.files["a"][0]) == {"liver": 200, "spleen": 200}
    assert done.notices == ("a: values that are none of the label table became background: 51",)
    assert declared_table(tmp_path / "out") == TABLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1=spleen,3=liver,4=pancreas", {"spleen": 100, "liver": 200, "pancreas": 300}),  # a swap
        ("1=spleen,3=pancreas,4=liver", {"spleen": 100, "pancreas": 200, "liver": 300}),  # a cycle
        ("1=spleen,3=pancreas", {"spleen": 100, "pancreas": 200}),  # a chain
        ("liver=spleen,spleen=liver", {"spleen": 100, "liver": 200}),
        (
            "liver=spleen,spleen=pancreas,pancreas=liver",
            {"spleen": 100, "pancreas": 200, "liver": 300},
        ),
    ],
)
def test_classes_change_places_at_once(tmp_path, text, expected):
    ids = {name: TABLE[name].id for name in ("liver", "spleen", "pancreas")}
    assert ids == {"liver": 1, "spleen": 3, "pancreas": 4}
    write_labels(tmp_path / "in" / "a.nii.gz", blocks(v1=(0, 5), v3=(10, 20), v4=(30, 45)))
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": ids}))
    expected = {name: 2 * voxels for name, voxels in expected.items()}
    assert names_in(run([tmp_path / "in"], tmp_path / "out", text).files["a"][0]) == expected


def test_two_files_of_one_class_change_places(tmp_path):
    case = tmp_path / "in" / "case"
    write_labels(case / "liver.nii.gz", blocks(v1=(0, 5)))
    write_labels(case / "spleen.nii.gz", blocks(v1=(10, 20)))
    done = run([tmp_path / "in"], tmp_path / "out", "liver=spleen,spleen=liver")
    assert names_in(done.files["case"][0]) == {"spleen": 200, "liver": 400}
    with pytest.raises(InputError, match="liver is mapped twice; give it once"):
        run([tmp_path / "in"], tmp_path / "out", "liver=spleen,liver=pancreas")


def test_files_of_one_class_become_a_label_map_and_back(tmp_path):
    case = tmp_path / "in" / "case7"
    for name, box in {"liver": (5, 20), "kidney_left": (30, 40), "rib_left_3": (50, 55)}.items():
        write_labels(case / f"{name}.nii.gz", blocks(v1=box))
    done = run([tmp_path / "in"], tmp_path / "joined", "totalsegmentator")
    assert names_in(done.files["case7"][0]) == {"liver": 600, "left_kidney": 400}
    again = run([tmp_path / "joined"], tmp_path / "apart", split=True)
    assert sorted(path.name for path in again.files["case7"]) == [
        "left_kidney.nii.gz",
        "liver.nii.gz",
    ]
    joined = run([tmp_path / "apart"], tmp_path / "again")
    first, last = (read_labels(item.files["case7"][0]).array for item in (done, joined))
    assert np.array_equal(first, last)


def test_a_tumor_lies_over_its_organ_and_other_overlaps_are_named(tmp_path):
    case = tmp_path / "in" / "c"
    for name, box in {"liver": (5, 20), "tumor": (10, 12), "stomach": (18, 25)}.items():
        write_labels(case / f"{name}.nii.gz", blocks(v1=box))
    done = run([case], tmp_path / "out")
    assert names_in(done.files["c"][0]) == {"liver": 520, "stomach": 200, "tumor": 80}
    assert done.notices == ("c: stomach overlaps other classes in 80 voxels, which keep them",)


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        ("first", {"liver": 400, "spleen": 200}),
        ("last", {"liver": 200, "spleen": 400}),
        ("agree", {}),
    ],
)
def test_where_two_sources_differ_the_rule_decides(tmp_path, conflict, expected):
    write_labels(tmp_path / "a" / "c.nii.gz", blocks(v1=(5, 15)))
    write_labels(tmp_path / "b" / "c.nii.gz", blocks(v3=(10, 20)))
    done = run([tmp_path / "a", tmp_path / "b"], tmp_path / "out", conflict=conflict)
    assert names_in(done.files["c"][0]) == expected


def test_agreement_is_asked_only_of_those_that_know_the_class(tmp_path):
    write_labels(tmp_path / "a" / "c.nii.gz", blocks(v1=(5, 15), v3=(30, 35)))
    write_labels(tmp_path / "b" / "c.nii.gz", blocks(v1=(10, 20)))
    (tmp_path / "b" / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1}})
    )
    done = run([tmp_path / "a", tmp_path / "b"], tmp_path / "out", conflict="agree")
    assert names_in(done.files["c"][0]) == {"liver": 200, "spleen": 200}


MAPS = hnp.arrays(np.uint8, (2, 3, 3), elements=st.sampled_from([0, 1, 2]))


@given(st.lists(st.tuples(MAPS, st.sets(st.sampled_from([1, 2]))), min_size=1, max_size=3))
def test_agreement_is_symmetric_and_invents_nothing(sources):
    arrays = [array for array, _ in sources]
    known = [ids | set(np.unique(array).tolist()) - {0} for array, ids in sources]
    merged = _agreed(arrays, known)
    assert np.array_equal(merged, _agreed(arrays[::-1], known[::-1]))
    for array, ids in zip(arrays, known, strict=True):
        asked = np.isin(merged, sorted(ids)) & (merged > 0)
        assert np.array_equal(array[asked], merged[asked])
    if len(arrays) == 1:
        assert np.array_equal(merged, arrays[0])


def test_another_table_renumbers_classes_of_the_same_names(tmp_path):
    other = Taxonomy.from_dict(
        {"name": "two", "class": [{"id": 1, "name": "spleen"}, {"id": 2, "name": "liver"}]}
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 2, "heart": 3}})
    )
    write_labels(tmp_path / "in" / "a.nii.gz", blocks(v1=(5, 10), v2=(20, 30), v3=(40, 41)))
    done = relabel([tmp_path / "in"], tmp_path / "out", taxonomy=other)
    values, counts = np.unique(read_labels(done.files["a"][0]).array, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True))[2] == 200
    assert done.notices == ("a: values that are none of the label table became background: 3",)


def test_sources_on_two_grids_fail_that_case_only(tmp_path):
    for folder in ("a", "b"):
        for case in ("c", "d"):
            write_labels(tmp_path / folder / f"{case}.nii.gz", blocks(v1=(5, 15)))
    moved = GRID.affine.copy()
    moved[0, 3] = 50
    write_labels(
        tmp_path / "b" / "d.nii.gz", Volume(blocks(v1=(5, 15)).array, Grid(GRID.shape, moved))
    )
    done = run([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert set(done.files) == {"c"}
    assert "another grid" in done.failures[0].reason


def test_names_that_are_none_of_the_table_need_a_map(tmp_path):
    write_labels(tmp_path / "a.nii.gz", blocks(v1=(5, 15)))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "hepar": 1}}))
    with pytest.raises(InputError, match="--map"):
        run([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_file_cannot_hold_several_cases(tmp_path):
    for case in ("c", "d"):
        write_labels(tmp_path / "in" / f"{case}.nii.gz", blocks(v1=(5, 15)))
    with pytest.raises(InputError, match="one file for 2 cases"):
        run([tmp_path / "in"], tmp_path / "out.nii.gz")


@pytest.mark.parametrize("kind", ["glb", "stl"])
def test_surfaces_are_written_beside_label_maps_that_exist(tmp_path, kind):
    trimesh = pytest.importorskip("trimesh", reason="the extra [mesh] is not installed")
    pytest.importorskip("skimage", reason="the extra [mesh] is not installed")
    write_labels(tmp_path / "in" / "a.nii.gz", blocks(v1=(5, 15), v3=(30, 40)))
    write_labels(tmp_path / "in" / "b.nii.gz", blocks())
    done = run([tmp_path / "in"], tmp_path / "out", mesh=kind)
    files = done.files["a"][1:]
    if kind == "glb":
        assert files == (tmp_path / "out" / "a.glb",)
        found = dict(trimesh.load(files[0]).geometry)
    else:
        assert files[0].parent == tmp_path / "out" / "meshes" / "a"
        found = {path.stem: trimesh.load(path) for path in files}
    assert {name: round(mesh.volume / 1000) for name, mesh in found.items()} == {
        "liver": 32,  # 4 x 10 x 10 voxels of 80 mm³
        "spleen": 32,
    }
    assert len(done.files["b"]) == 1
    assert any(line.startswith("b: ") and "no class" in line for line in done.notices)
    again = run([tmp_path / "out"], tmp_path / "again")  # they are no label maps
    assert set(again.files) == {"a", "b"}
