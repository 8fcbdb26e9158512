from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cli import main
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from tests.reports import read_report
from tests.training.conftest import TABLE


@pytest.fixture
def cohort_folder(balls: Cohort, tmp_path: Path) -> Path:
    write_cohort(tmp_path / "cohort", balls)
    return tmp_path / "cohort"


TINY = """\
like = "demo"
[student.network]
features = [8, 16]
strides = [[1, 1, 1], [2, 2, 2]]
[student.data]
patch = [16, 24, 24]
[student.training]
epochs = 1
iterations = 2
validation_batches = 1
"""


def test_plan_only_prints_and_trains_nothing(
    cohort_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "teachers", tmp_path / "plan.json"
    assert (
        main(
            [
                "teach",
                str(cohort_folder),
                "-o",
                str(out),
                "--preset",
                "paper",
                "--plan-only",
                "--report",
                str(report),
            ]
        )
        == 0
    )
    told = capsys.readouterr().out
    for figure in (
        "organs: 4 folds",
        "tumor: 1 fold",
        "48×192×192 at 2.5×0.86×0.86 mm",
        "1000 epochs of 250 steps",
        "Elastic",
        "GFLOP",
    ):
        assert figure in told
    assert not out.exists()
    plan = read_report(report, "teach")["plan"]
    assert [(item["task"], item["cases"], item["classes"]) for item in plan] == [
        ("organs", 4, 2),
        ("tumor", 2, 1),
    ]
    assert (
        main(["study", str(cohort_folder), "-o", str(out), "--preset", "laptop", "--plan-only"])
        == 0
    )
    assert "4×2.5×2.5 mm" in capsys.readouterr().out


def test_teach_trains_and_reports(
    cohort_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, report = tmp_path / "tiny.toml", tmp_path / "report.json"
    preset.write_text(TINY)
    command = [
        "teach",
        str(cohort_folder),
        "-o",
        str(tmp_path / "out"),
        "--preset",
        str(preset),
        "--target",
        "organs",
        "--fold",
        "1",
    ]
    assert main([*command, "--report", str(report)]) == 0
    assert "fold 1 trained, 1 of them now" in capsys.readouterr().out
    told = read_report(report, "teach")
    assert told["schema"] == 1
    assert told["models"][0]["folds"] == [1]
    assert told["failures"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fold", "one"], "expected a number from 0, or all"),
        (["--preset", "server"], "no preset 'server'; choose one of demo, distill, laptop, paper"),
        (["--fold", "9"], "no fold 9"),
    ],
)
def test_wrong_usage_is_one_line(
    cohort_folder: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["teach", str(cohort_folder), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.strip().splitlines()[-1].startswith("nnstudent teach: ")


def test_a_cohort_without_a_full_case_is_refused(
    tmp_path: Path, balls: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cohort(
        tmp_path / "cohort", Cohort(TABLE, (balls["partial"], Case("none", balls["none"].image)))
    )
    for verb in ("teach", "study"):
        assert main([verb, str(tmp_path / "cohort"), "-o", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "no case has all" in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_no_cohort_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "no cohort" in capsys.readouterr().err
