"""A folder of segmentations is sorted by what is expected of its organs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.evaluation.ranking import candidates, rank_folder, ranking_csv, ranking_lines
from nnstudent.inference.labels.volumetry import Row, write_statistics


def organ(case: str, name: str, expected: float | None, verdict: str) -> Row:
    numbers = ("", "", "") if expected is None else (f"{expected}", f"{expected - 0.1}", "0.95")
    return (case, name, "12.0", "40.0", "9.0", "no", "0.9", *numbers, verdict)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        organ("fine", "liver", 0.95, "pass"),
        organ("fine", "spleen", 0.9, "pass"),
        organ("poor", "liver", 0.93, "pass"),
        organ("poor", "gallbladder", 0.31, "fail"),
        organ("dubious", "liver", 0.72, "look"),
        organ("dubious", "spleen", None, "look"),
        ("dubious", "aorta", "0.000", "", "", "no", "", "", "", "", ""),
    ]
    write_statistics(tmp_path / "statistics.csv", rows)
    (tmp_path / "poor.png").write_bytes(b"picture")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    return tmp_path


def test_the_worst_case_and_its_worst_organ_come_first(folder: Path) -> None:
    cases = rank_folder(folder)
    assert [case.id for case in cases] == ["poor", "dubious", "fine"]
    assert [item.name for item in cases[0].organs] == ["gallbladder", "liver"]
    assert cases[0].picture == folder / "poor.png"
    assert [item.name for item in cases[1].of("look")] == ["liver", "spleen"]
    assert cases[0].record()["least_expected_dice"] == 0.31
    assert cases[1].record()["organs"]["spleen"] == {
        "verdict": "look",
        "expected_dice": None,
        "dice_interval": None,
    }


def test_a_line_and_a_row_per_case(folder: Path) -> None:
    cases = rank_folder(folder)
    assert list(ranking_lines(cases)) == [
        "poor     fail: gallbladder 0.31 (0.21 to 0.95)",
        "dubious  look: liver 0.72 (0.62 to 0.95); look: spleen not found",
        "fine     pass",
    ]
    assert list(ranking_lines(cases, most=1))[-1] == "… and 2 better cases"
    rows = list(csv.DictReader(ranking_csv(cases).splitlines()))
    assert [row["case"] for row in rows] == ["poor", "dubious", "fine"]
    assert rows[0]["failing"] == "gallbladder"
    assert rows[1]["to_look_at"] == "liver spleen"


def test_what_cannot_be_ranked_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; expected one that nnstudent segment"):
        rank_folder(tmp_path / "none")
    with pytest.raises(InputError, match="no table of nnstudent segment --statistics in it"):
        rank_folder(tmp_path)
    empty = [("a", "liver", "12.0", "40.0", "9.0", "no", "0.9", "", "", "", "")]
    write_statistics(tmp_path / "statistics.csv", empty)
    with pytest.raises(InputError, match="no calibration of it; calibrate it with"):
        rank_folder(tmp_path)


def test_the_cases_are_candidates_for_correction(folder: Path) -> None:
    found = {item.id: item for item in candidates(folder)}
    assert list(found) == ["dubious", "fine", "poor"]
    assert found["poor"].expected_dice == {"liver": 0.93, "gallbladder": 0.31}
    assert found["dubious"].confidence == {"liver": 0.9, "spleen": 0.9}
    assert found["fine"].measures["spleen mean_hu"] == 40.0


def test_single_cases_are_named_after_their_label_maps(tmp_path: Path) -> None:
    for name, expected in (("a", 0.9), ("b", 0.4)):
        verdict = "pass" if expected > 0.5 else "fail"
        write_statistics(tmp_path / f"{name}.csv", [organ("ct", "liver", expected, verdict)])
        (tmp_path / f"{name}.png").write_bytes(b"picture")
    cases = rank_folder(tmp_path)
    assert [case.id for case in cases] == ["b", "a"]
    assert cases[0].picture == tmp_path / "b.png"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("liver", "x" * 200_000, "longer than|not valid CSV"),
        ("pass\n", "pass\n\nfine,liver\n", "line 4: has 2 fields; expected 11"),
        ("fine,liver", ",liver", "line 2: its case is empty"),
        ("12.0", "nan", "line 2: its volume_ml is 'nan'; expected a number, or nothing"),
        ("pass", "passed", "line 2: its verdict is 'passed'; expected"),
        ("case,organ", "organ,case", "its columns are .*; expected those of a table of nnstudent"),
        ("liver", '"liver', "not valid CSV"),
        ("liver", "liver,more", "is under no column"),
        ("liver", "liv\udcffer", "is not UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_and_not_passed_over(
    folder: Path, old: str, new: str, said: str
) -> None:
    path = folder / "statistics.csv"
    text = path.read_text().replace(old, new, 1)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for read in (rank_folder, candidates):
        with pytest.raises(InputError, match=f"statistics.csv.*({said})"):
            read(folder)


def test_other_tables_are_named_and_its_own_is_known(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "qc.csv").write_text(ranking_csv(rank_folder(folder)))
    (folder / "pipe.csv").mkdir()
    caplog.clear()
    assert len(rank_folder(folder)) == 3
    assert [line.split(":")[0] for line in caplog.messages] == [
        str(folder / "other.csv"),
        str(folder / "pipe.csv"),
    ]
