"""Which class of the label table each channel of a foreign network is."""

from __future__ import annotations

import json

import pytest

from nnstudent.bundle.labels import classes_of
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.errors import InputError
from nnstudent.taxonomy import LabelClass, Taxonomy, flare23
from tests.bundle.test_plans import described
from tests.inference.folders import dataset


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            {"background": 0, "whole": [1, 2], "core": 2},
            r"2 regions \(whole, core\) and regions_class_order None",
        ),
        ({"background": 0, "liver": 2}, "without a gap"),
        ({}, "no labels"),
    ],
)
def test_labels_that_are_not_supported(labels, says):
    with pytest.raises(InputError, match=says):
        described(data=dataset(("liver",)) | {"labels": labels})
    with pytest.raises(InputError, match="2 input channels"):
        described(data=dataset(("liver",)) | {"channel_names": {"0": "CT", "1": "PET"}})


def test_an_ignore_label_is_no_class():
    assert described(
        data=dataset(("liver",)) | {"labels": {"background": 0, "liver": 1, "ignore": 2}}
    ).classes == ("background", "liver")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("liver", "Spleen", "right kidney"), ("liver", "spleen", "right_kidney")),
        (
            ("kidney_right", "adrenal_gland_left", "IVC"),
            ("right_kidney", "left_adrenal_gland", "inferior_vena_cava"),
        ),
        (
            ("liver", "RAG", "postcava", "lesion"),
            ("liver", "right_adrenal_gland", "inferior_vena_cava", "tumor"),
        ),
    ],
)
def test_foreign_names_are_found_in_the_label_table(names, found):
    classes, taxonomy = classes_of(dataset(names), name="m")
    assert classes == ("background", *found)
    assert taxonomy.names == found
    assert taxonomy.ids == tuple(range(1, len(found) + 1)), "the model's own values"


def test_flares_table_stands_where_names_and_values_are_its_own():
    assert classes_of(dataset(flare23().names), name="m") == (
        ("background", *flare23().names),
        flare23(),
    )
    assert classes_of(dataset(("liver", "Right Kidney")), name="m")[1] == flare23()
    other = classes_of(dataset(("spleen", "liver")), name="m")[1]
    assert {item.name: item.id for item in other} == {"spleen": 1, "liver": 2}
    assert other["spleen"].snomed == flare23()["spleen"].snomed


def test_regions_are_named_after_the_label_that_is_written_for_them():
    data = dataset((), regions=True)
    classes, taxonomy = classes_of(data, name="m")
    assert classes == ("background", "organ", "mass", "tumor")
    assert {item.name: item.id for item in taxonomy} == {"organ": 1, "mass": 3, "tumor": 2}
    spec = described(data=data)
    assert spec.regions
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    flare = {
        "labels": {"background": 0, "liver": [1, 2], "tumor": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }
    classes, taxonomy = classes_of(flare, name="m")
    assert classes == ("background", "liver", "tumor")
    assert {item.name: item.id for item in taxonomy} == {"liver": 1, "tumor": 2}
    # A region of one value only is a label, as in nnU-Net.
    assert not described(
        data=dataset(("liver",)) | {"labels": {"background": 0, "liver": [1]}}
    ).regions
    for order in ([1, 1, 2], [1, 2], [0, 1, 2], "x"):
        with pytest.raises(InputError, match="3 regions"):
            classes_of(data | {"regions_class_order": order}, name="m")


def test_other_names_make_their_own_table():
    classes, taxonomy = classes_of(
        dataset(("Lung, upper (left)", "liver", "kidney_right", "2nd rib", "liver tumor")),
        name="Dataset 12",
    )
    assert classes == (
        "background",
        "lung_upper_left",
        "liver",
        "right_kidney",
        "class_2nd_rib",
        "liver_tumor",
    )
    assert taxonomy.ids == (1, 2, 3, 4, 5)
    assert taxonomy["liver"].nsd_mm == flare23()["liver"].nsd_mm
    assert taxonomy["right_kidney"].partner is None, "its partner is not in this table"
    assert taxonomy.lesions == ("liver_tumor",)
    assert len({item.color for item in taxonomy}) == 5


def test_our_own_models_bring_their_table():
    table = Taxonomy("mine", (LabelClass(7, "heart"), LabelClass(9, "tumor", kind="lesion")))
    own = {"nnstudent": {"taxonomy": table.to_dict(), "classes": {"1": "tumor"}}}
    classes, taxonomy = classes_of(dataset(("tumor",)) | own, name="m")
    assert classes == ("background", "tumor")
    assert taxonomy == table
    with pytest.raises(InputError, match="under nnstudent"):
        classes_of(dataset(("tumor", "heart")) | own, name="m")
