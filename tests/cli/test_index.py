from __future__ import annotations

import pytest

from nnstudent.cli.main import main
from tests.cohort.conftest import Files
from tests.reports import read_report


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path / "source")


@pytest.fixture
def source(files):
    files.ct("full.nii.gz"), files.label("full_l.nii.gz", range(1, 14))
    files.ct("partial.nii.gz"), files.label("partial_l.nii.gz", [1, 3, 14])
    files.ct("bare.nii.gz")
    return files.text(
        "cases.csv",
        "id,image,label,annotated,role\nfull,full.nii.gz,full_l.nii.gz,organs,\npartial,partial.nii.gz,partial_l.nii.gz,,\nbare,bare.nii.gz,,,\n",
    )


def test_what_is_annotated_where_is_printed(source, tmp_path, capsys):
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["case", "image", "annotated", "known", "from", "role"],
        [
            "full",
            "12×10×8",
            "at",
            "0.80×0.80×2.50",
            "mm,",
            "LPS",
            "all",
            "13",
            "organs",
            "source",
            "train",
        ],
        [
            "partial",
            "12×10×8",
            "at",
            "0.80×0.80×2.50",
            "mm,",
            "LPS",
            "liver,",
            "spleen",
            "+",
            "tumor",
            "label",
            "map",
            "train",
        ],
        ["bare", "12×10×8", "at", "0.80×0.80×2.50", "mm,", "LPS", "none", "no", "label", "train"],
    ]
    text = "\n".join(lines)
    assert "1 case with all 13 organs annotated, for the organ teachers" in text
    assert "1 case with tumor annotated, for the tumor model" in text
    assert "2 cases with organs that are not annotated, for the teachers to label" in text
    assert lines[-1] == f"cohort: {tmp_path / 'C' / 'cohort.json'}"


def test_broken_cases_are_named_and_the_code_is_1(source, tmp_path, capsys):
    source.write_text(source.read_text() + "gone,none.nii.gz,,,\n")
    assert (
        main(
            ["index", str(source), "-o", str(tmp_path / "C"), "--report", str(tmp_path / "r.json")]
        )
        == 1
    )
    err = capsys.readouterr().err
    assert "nnstudent index: failed: gone: " in err
    assert "Traceback" not in err
    report = read_report(tmp_path / "r.json", "index")
    assert [row["id"] for row in report["cases"]] == ["full", "partial", "bare"]
    assert report["failures"][0]["id"] == "gone"
    assert {"schema", "version", "command", "summary", "notices"} <= set(report)
    assert main(["index", str(source), "-o", str(tmp_path / "C"), "--skip", "gone"]) == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_source_of_broken_cases_only_leaves_nothing_behind(files, tmp_path, capsys, there):
    files.ct("a.nii.gz"), files.label("l.nii.gz", [99])
    source = files.text(
        "c.csv",
        "id,image,label,annotated\ngone,none.nii.gz,,\nids,a.nii.gz,l.nii.gz,\nbare,a.nii.gz,,liver\n",
    )
    if there:
        (tmp_path / "C").mkdir()
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == 2
    printed = capsys.readouterr()
    assert printed.out.endswith("no usable case in it; no cohort was written\n")
    for case in ("gone", "ids", "bare"):
        assert f"nnstudent index: failed: {case}: " in printed.err
    assert (tmp_path / "C").exists() == there
    assert not there or not list((tmp_path / "C").iterdir())


def test_an_earlier_cohort_stays_if_every_case_is_broken_now(source, tmp_path, capsys):
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == 0
    before = (tmp_path / "C" / "cohort.json").read_bytes()
    for image in source.parent.glob("*.nii.gz"):
        image.write_bytes(b"damaged")
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == 2
    assert (tmp_path / "C" / "cohort.json").read_bytes() == before


def test_no_tumor_is_one_line_of_notice(files, tmp_path, capsys):
    files.ct("a.nii.gz"), files.label("l.nii.gz", range(1, 14))
    source = files.text("c.csv", "image,label\na.nii.gz,l.nii.gz\n")
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "notice" in line] == [
        "notice: no case has tumor annotated, so no tumor model can be trained"
    ]


def test_no_full_case_is_said(source, tmp_path, capsys):
    main(["index", str(source), "-o", str(tmp_path / "C"), "--annotated", "full=liver"])
    assert "no case has all 13 organs annotated" in capsys.readouterr().out


def test_a_table_without_lesions_has_no_notice(files, tmp_path, capsys):
    files.ct("a.nii.gz"), files.label("l.nii.gz", [1, 2, 3])
    table = files.text(
        "t.toml", "".join(f'[[class]]\nid = {n}\nname = "c{n}"\n' for n in (1, 2, 3))
    )
    source = files.text("c.csv", "image,label\na.nii.gz,l.nii.gz\n")
    assert main(["index", str(source), "-o", str(tmp_path / "C"), "--taxonomy", str(table)]) == 0
    out = capsys.readouterr().out
    assert "notice" not in out
    assert "all 3 organs" in out


@pytest.mark.parametrize("text", ["full", "full=", "=all", "nobody=all", "full=heart"])
def test_a_wrong_override_is_refused(source, tmp_path, text, capsys):
    assert main(["index", str(source), "-o", str(tmp_path / "C"), "--annotated", text]) == 2
    assert "--annotated" in capsys.readouterr().err
    assert not (tmp_path / "C").exists()


def test_an_output_below_a_file(source, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["index", str(source), "-o", str(tmp_path / "file" / "C")]) == 2
    assert "cannot be written" in capsys.readouterr().err
