"""Lists of cases in CSV and TOML."""

from __future__ import annotations

import pytest

from nnstudent.cohort.sources import read_source
from nnstudent.errors import InputError
from tests.cohort.conftest import Files
from tests.cohort.sources.test_dispatch import rows


def test_csv_list(files: Files, monkeypatch):
    files.ct("deep/a.nii.gz")
    monkeypatch.setenv("SCANS", str(files.folder / "deep"))
    path = files.text(
        "cases.csv",
        "\ufeffID,Image,Label,Annotated,Role\n"
        "one,deep/a.nii.gz,deep/l.nii.gz,liver;spleen,\n"
        "two,${SCANS}/b.nii.gz,,,test\n"
        ',deep/My Scan_0000.nii.gz,l.nii.gz,"organs, -spleen",train\n'
        "\n",
    )
    source = read_source(path)
    assert [(e.id, e.image, e.label, e.annotated, e.role) for e in source.entries] == [
        (
            "one",
            files.folder / "deep/a.nii.gz",
            files.folder / "deep/l.nii.gz",
            ("liver", "spleen"),
            "train",
        ),
        ("two", files.folder / "deep/b.nii.gz", None, None, "test"),
        (
            "My_Scan",
            files.folder / "deep/My Scan_0000.nii.gz",
            files.folder / "l.nii.gz",
            ("organs", "-spleen"),
            "train",
        ),
    ]


def test_toml_list(files: Files):
    files.text(
        "tables/mine.toml",
        '[[class]]\nid = 1\nname = "liver"\n[[class]]\nid = 2\nname = "spleen"\n',
    )
    path = files.text(
        "cases.toml",
        'taxonomy = "tables/mine.toml"\n[defaults]\nannotated = ["liver"]\n'
        '[[case]]\nid = "one"\nimage = "a.nii.gz"\nlabel = "l.nii.gz"\n'
        '[[case]]\nimage = "b.nii.gz"\nlabel = "m.nii.gz"\nannotated = "all"\nrole = "test"\n',
    )
    source = read_source(path)
    assert source.taxonomy.names == ("liver", "spleen")
    assert [(e.id, e.annotated, e.role) for e in source.entries] == [
        ("one", ("liver",), "train"),
        ("b", ("all",), "test"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id,label\nx,y\n", "expected a header with image"),
        ("a.csv", "", "expected a header with image"),
        ("a.csv", "image,weight\na.nii.gz,3\n", "unknown key 'weight'"),
        ("a.csv", "image\na.nii.gz,b,c\n", "too many fields"),
        ("a.csv", "image,role\na.nii.gz,validation\n", "expected train or test"),
        ("a.csv", "image\n", "no case in it"),
        (
            "a.csv",
            "image\n${NO_SUCH_VARIABLE}/a.nii.gz\n",
            r"line 2: \$\{NO_SUCH_VARIABLE\} is not set; set it first",
        ),
        ("a.toml", "[[case]\n", "not valid TOML"),
        ("a.toml", 'cases = "x"\n', "unknown key 'cases'"),
        ("a.toml", '[case]\nimage = "a"\n', r"expected \[\[case\]\] tables"),
        ("a.toml", "[[case]]\nimage = 3\n", "expected text"),
        ("a.toml", '[[case]]\nimage = "a"\nannotated = 3\n', "expected class names"),
        (
            "a.toml",
            'taxonomy = "none.toml"\n[[case]]\nimage = "a"\n',
            "expected the file of a label table",
        ),
    ],
)
def test_lists_that_are_refused(files: Files, name, text, said):
    with pytest.raises(InputError, match=said):
        read_source(files.text(name, text))


def test_a_row_without_an_image_does_not_stop_the_others(files: Files):
    source = read_source(files.text("a.csv", "id,image\none,\ntwo,b.nii.gz\n"))
    assert list(rows(source)) == ["two"]
    assert source.failures[0].case == "one"
