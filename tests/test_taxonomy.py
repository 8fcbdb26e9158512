from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.taxonomy import Taxonomy, find_classes, flare23, read_taxonomy, spare_color

# The organisers' tolerances in mm, by id (FLARE23's evaluation script).
TOLERANCES = {
    1: 5,
    2: 3,
    3: 3,
    4: 5,
    5: 2,
    6: 2,
    7: 2,
    8: 2,
    9: 2,
    10: 3,
    11: 5,
    12: 7,
    13: 3,
    14: 2,
}


def test_flare23_is_the_challenges_table():
    table = flare23()
    assert {row.id: row.nsd_mm for row in table} == TOLERANCES
    assert table.names[0] == "liver"
    assert table.names[6:8] == ("right_adrenal_gland", "left_adrenal_gland")
    assert (len(table.organs), table.lesions) == (13, ("tumor",))
    assert len({row.color for row in table}) == 14
    for row in table:
        assert row.partner is None or (
            table[row.partner].partner == row.name and row.partner != row.name
        )


def test_plain_data_and_back():
    assert Taxonomy.from_dict(flare23().to_dict()) == flare23()


def test_lookup():
    table = flare23()
    assert table.by_id(13).name == "left_kidney"
    assert table.sorted(["tumor", "liver", "tumor"]) == ("liver", "tumor")
    for ask in (lambda: table["heart"], lambda: table.by_id(0), lambda: table.sorted(["heart"])):
        with pytest.raises(InputError):
            ask()


def one(**changes):
    return {"name": "t", "class": [{"id": 1, "name": "liver"} | changes]}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"name": "t"}, "holds no class"),
        ({"name": "t", "class": {"id": 1, "name": "liver"}}, r"list of \[\[class\]\]"),
        ({"name": 3, "class": []}, "a label table is a name"),
        (one(id=0), "ids are 1 to 254"),
        (one(id=255), "ids are 1 to 254"),
        (one(id="1"), "wrong type"),
        (one(id=True), "wrong type"),
        (one(name="Left Kidney"), "is not a class name"),
        (one(name="../liver"), "is not a class name"),
        (one(kind="vessel"), "of kind 'vessel'"),
        (one(partner="spleen"), "which is not in the table"),
        (one(nsd_mm=-1.0), "expected a finite number of at least 0"),
        (one(nsd_mm=float("nan")), "expected a finite number of at least 0"),
        (one(color=[1, 2]), "three numbers"),
        (one(color=[1, 2, 256]), "three numbers"),
        (one(weight=3), "unknown key 'weight'"),
        ({"class": [{"id": 1}]}, "needs id and name"),
        ({"class": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id occurs twice"),
        ({"class": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "name occurs twice"),
        (
            {"class": [{"id": 1, "name": "a", "partner": "b"}, {"id": 2, "name": "b"}]},
            "must name it back",
        ),
    ],
)
def test_bad_tables(table, said):
    with pytest.raises(InputError, match=said):
        Taxonomy.from_dict(table)


def test_files(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[class]]\nid = 5\nname = "bladder"\n[[class]]\nid = 2\nname = "prostate"\n')
    table = read_taxonomy(path)
    assert (table.name, table.ids) == ("mine", (5, 2))
    assert table["bladder"].color != table["prostate"].color, "no color given, yet told apart"
    path.write_bytes(b"id = ")
    with pytest.raises(InputError, match="not valid TOML"):
        read_taxonomy(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_taxonomy(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_taxonomy(tmp_path / "none.toml")


def test_classes_are_found_however_they_are_written() -> None:
    table = flare23()
    assert find_classes(["Spleen", "left kidney", "LEFT-KIDNEY"], table.names, where="x") == (
        "spleen",
        "left_kidney",
    )
    assert table.sorted(["Left kidney", "Liver"]) == ("liver", "left_kidney")
    with pytest.raises(InputError, match="--organs: no class 'kidney'; did you mean right_kidney"):
        find_classes(["kidney"], table.names, where="--organs")
    with pytest.raises(InputError, match="no class 'spleeen' in label table flare23; did you mean"):
        table.sorted(["spleeen"])


def test_spare_colors_differ():
    colors = [spare_color(number) for number in range(120)]
    assert len(set(colors)) == 120
    assert all(max(color) - min(color) > 60 for color in colors), "none is gray"
    assert min(np.abs(np.subtract(a, b)).max() for a, b in pairwise(colors)) > 60


def test_a_table_of_some_classes_keeps_ids_and_order() -> None:
    some = flare23().only(["left_kidney", "Spleen"])
    assert [(row.id, row.name, row.partner) for row in some] == [
        (3, "spleen", None),
        (13, "left_kidney", None),
    ]
    assert flare23().only(["left_kidney", "right_kidney"])["left_kidney"].partner == "right_kidney"
    with pytest.raises(InputError, match="did you mean spleen"):
        flare23().only(["splen"])
