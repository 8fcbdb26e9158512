"""Class maps of other tools: the ones in the package, files, and VALUE=CLASS."""

from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.labels.class_maps import find_map, map_names, map_text
from nnstudent.taxonomy import flare23

TABLE = flare23()


@pytest.mark.parametrize("name", map_names())
def test_each_map_of_the_package_is_whole(name):
    found = find_map(name, taxonomy=TABLE)
    assert found.title
    assert found.source.startswith(("http://", "https://"))
    assert set(found.targets) <= set(found.classes.values())
    assert len(set(found.classes.values())) == len(found.classes)
    values = found.values({}, where="here")
    assert values
    for targets in values.values():
        assert set(targets) <= set(TABLE.names)


@pytest.mark.parametrize(
    ("name", "value", "target"),
    [
        ("totalsegmentator", 5, "liver"),
        ("totalsegmentator", 2, "right_kidney"),
        ("totalsegmentator", 63, "inferior_vena_cava"),
        ("totalsegmentator", 9, "left_adrenal_gland"),
        ("amos", 9, "inferior_vena_cava"),
        ("btcv", 13, "left_adrenal_gland"),
        ("word", 3, "left_kidney"),
        ("lits", 2, "tumor"),
        ("vista3d", 14, "left_kidney"),
    ],
)
def test_a_value_of_each_maker_is_the_class_it_means(name, value, target):
    assert find_map(name, taxonomy=TABLE).values({}, where="here")[value] == (target,)


def test_totalsegmentator_has_all_117_classes_and_the_13_organs():
    found = find_map("totalsegmentator", taxonomy=TABLE)
    assert sorted(found.classes) == list(range(1, 118))
    assert {target for targets in found.targets.values() for target in targets} == set(TABLE.organs)


def test_a_pair_in_one_class_is_right_then_left():
    for text in ("kits", "1=left_kidney+right_kidney"):
        values = find_map(text, taxonomy=TABLE).values({}, where="here")
        assert values[1] == ("right_kidney", "left_kidney")


def test_a_file_of_the_same_form_is_a_map_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(map_text("amos"))
    assert find_map(str(path), taxonomy=TABLE).values({}, where="here")[6] == ("liver",)


def test_a_dataset_json_says_which_value_a_name_has():
    amos = find_map("amos", taxonomy=TABLE)
    assert amos.values({"liver": 1, "postcava": 2}, where="here") == {
        1: ("liver",),
        2: ("inferior_vena_cava",),
    }
    given = find_map("hepar=liver,3=spleen", taxonomy=TABLE)
    assert given.values({"hepar": 7}, where="here") == {7: ("liver",), 3: ("spleen",)}
    with pytest.raises(InputError, match="has no 'hepar'; expected a value"):
        given.values({}, where="here")


@pytest.mark.parametrize("text", ["0=liver", "300=liver", "99999999999=liver"])
def test_a_value_that_no_label_map_holds_is_refused(text):
    given = find_map(text, taxonomy=TABLE)
    with pytest.raises(InputError, match="expected a value from 1 to 255"):
        given.values({}, where="here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("totalsegmentor", "did you mean totalsegmentator"),
        ("1=livre", "did you mean liver"),
        ("1", "no such class map"),
        ("1=liver,1=spleen", "mapped twice"),
        ("=spleen", "is not VALUE=CLASS"),
        ("1=liver+spleen", "not the right and left of one pair"),
        ("liver=", "is not VALUE=CLASS"),
        ("missing.toml", "missing.toml"),
    ],
)
def test_what_is_no_map_is_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        find_map(text, taxonomy=TABLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[classes]\n1 = 'a'\n",
        "[classes]\n1 = 'a'\n[flare23]\nb = 'liver'\n",
        "[classes]\n0 = 'a'\n[flare23]\na = 'liver'\n",
        "[classes]\n1 = 'a'\n[flare23]\na = 5\n",
        "[classes]\n1 = 'a'\n[flare23]\na = ['liver', 'liver', 'liver']\n",
        "other = 1\n[classes]\n1 = 'a'\n[flare23]\na = 'liver'\n",
    ],
)
def test_a_malformed_file_is_one_line_that_names_it(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.toml"):
        find_map(str(path), taxonomy=TABLE)
