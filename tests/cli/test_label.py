"""label and select by the command: what they print and report, exit codes, errors of one line."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.cli import main
from nnstudent.cli.main import build_parser
from nnstudent.cohort.cohort import write_cohort
from nnstudent.io.nifti import write_labels
from nnstudent.pseudo.teacher import open_teachers
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.pseudo.conftest import GRID, SHAPE, TOY, Maker
from tests.reports import read_report

ALL = ("liver", "kidney", "tumor")


@pytest.fixture
def maker(tmp_path) -> Maker:
    return Maker(tmp_path, TOY)


@pytest.fixture
def cohort(maker: Maker, tmp_path):
    write_cohort(
        tmp_path / "cohort",
        maker.cohort(maker.case("full", ALL), maker.case("none"), maker.case("lost")),
    )
    write_labels(tmp_path / "made" / "none.nii.gz", Volume(np.full(SHAPE, 2, np.uint8), GRID))
    return tmp_path / "cohort"


def test_labels_from_elsewhere_are_selected(cohort, tmp_path, capsys):
    pseudo, fused = tmp_path / "pseudo", tmp_path / "fused"
    report = tmp_path / "label.json"
    words = ["label", str(cohort), "-o", str(pseudo), "--from", str(tmp_path / "made")]
    assert main([*words, "--map", "2=liver,3=kidney", "--report", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "no label map for 1 of 2 cases, lost the first" in printed
    assert "1 case labeled, 1 of them now" in printed
    data = read_report(report, "label")
    assert {"schema", "version", "command"} <= set(data)
    (row,) = data["cases"]
    assert row | {"seconds": 0} == {
        "id": "none",
        "made": True,
        "case": "none",
        "classes": ["liver", "kidney"],
        "found": ["liver"],
        "folds": {},
        "round": 1,
        "models": dict.fromkeys(("liver", "kidney"), row["models"]["liver"]),
        "confidence": {},
        "agreement": {},
        "volume_ml": {"liver": pytest.approx(GRID.voxel_ml * np.prod(SHAPE), abs=1e-3)},
        "seconds": 0,
    }
    assert data["absent"] == ["lost"]

    report = tmp_path / "select.json"
    assert (
        main(
            [
                "select",
                str(cohort),
                str(pseudo),
                "-o",
                str(fused),
                "--classes",
                "liver,kidney",
                "--report",
                str(report),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "kept     none: kept without agreement: labels made elsewhere" in printed
    assert "dropped  lost: no pseudo-label" in printed
    assert [row["kept"] for row in read_report(report, "select")["cases"]] == [True, True, False]

    preset = tmp_path / "mine.toml"
    preset.write_text('like = "laptop"\n[select]\nmin_confidence = 2\n')  # and leaves classes open
    words = ["select", str(cohort), str(pseudo), "-o", str(fused), "--preset", str(preset)]
    assert main(words) == 2
    assert "min_confidence = 2.0; expected 0 to 1" in capsys.readouterr().err
    preset.write_text('like = "laptop"\n')
    assert main(words) == 0
    assert (
        "kept     none: kept without agreement: labels made elsewhere; 2 of 3 classes"
        in capsys.readouterr().out
    )
    preset.write_text('like = "paper"\n')  # one_student = false
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "kept     none: kept without agreement: labels made elsewhere\n" in printed
    assert "2 of 3 cases kept, 2 classes" in printed


def test_a_failed_case_is_named_and_the_exit_code_says_so(cohort, tmp_path, capsys):
    write_labels(tmp_path / "made" / "lost.nii.gz", Volume(np.full(SHAPE, 77, np.uint8), GRID))
    assert (
        main(
            ["label", str(cohort), "-o", str(tmp_path / "pseudo"), "--from", str(tmp_path / "made")]
        )
        == 1
    )
    errors = capsys.readouterr().err.strip().splitlines()[-1]
    assert errors.startswith("nnstudent label: failed: lost: ")
    assert "id 77 is not in the label table toy" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["label", "{c}", "-o", "{o}", "--from", "{c}/nowhere"], "no such folder"),
        (["label", "{c}", "-o", "{o}", "--from", "{c}"], "no label map in it"),
        (["label", "{c}", "-o", "{o}", "--teacher", "{c}"], "is no model"),
        (["label", "{c}", "-o", "{o}", "--from", "{c}", "--map", "liver"], "no such class map"),
        (["label", "{c}", "-o", "{o}", "--from", "{c}", "--part", "0/2"], "1 ≤ I ≤ N"),
        (["label", "{c}/nowhere", "-o", "{o}", "--from", "{c}"], "no cohort"),
        (
            ["select", "{c}", "{c}/nowhere", "-o", "{o}"],
            "no such folder; expected the pseudo-labels",
        ),
        (
            ["select", "{c}", "{c}", "-o", "{o}", "--min-agreement", "7"],
            "min_agreement = 7.0; expected 0 to 1",
        ),
        (["select", "{c}", "{c}", "-o", "{o}", "--classes", "lung"], "no class 'lung'"),
        (["run", "{c}/nowhere", "-o", "{o}", "--preset", "demo"], "no such file or folder"),
        (["run", "{c}", "-o", "{o}", "--preset", "nowhere"], "no preset 'nowhere'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(cohort, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    assert main([word.format(c=cohort, o=out) for word in words]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"nnstudent {words[0]}: ")
    assert message in errors[0]
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written(cohort, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for words in (
        ["label", cohort, "-o", tmp_path / "file", "--from", tmp_path / "made"],
        ["select", cohort, tmp_path / "made", "-o", tmp_path / "file" / "x"],
        ["run", cohort, "-o", tmp_path / "file" / "x", "--preset", "demo"],
    ):
        assert main([str(word) for word in words]) == 2
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1, errors
        assert "choose a place that you may write to" in errors[0]


def test_the_bundled_student_is_a_teacher_by_its_name():
    words = ["label", "cohort", "-o", "pseudo", "--teacher", "bundled"]
    (named,) = build_parser().parse_args(words).teacher
    (teacher,) = open_teachers([named], flare23())
    assert teacher.hash == open_model(None).hash
    assert {"liver", "left_adrenal_gland"} <= set(teacher.classes)
