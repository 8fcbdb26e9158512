from __future__ import annotations

from pathlib import Path
from typing import Any

from nnstudent.cli.segmented import case_table, print_result
from nnstudent.inference.files.shared import FilesResult


def facts(ml: float, confidence: float | None = 0.9, *, cut: bool = False) -> dict[str, Any]:
    return {"volume_ml": ml, "confidence": confidence, "touches_border": cut}


def row(id: str, *warnings: str, **organs: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": id,
        "warnings": list(warnings),
        "organs": organs,
        "seconds": {"total": 1.25},
        "peak_rss_mb": 600.0,
        "files": [f"out/{id}.nii.gz", f"out/{id}.png"],
    }


GOOD = row("good", liver=facts(1500, 0.99), left_kidney=facts(150, 0.97), tumor=facts(0))
CUT = row("cut", liver=facts(900, 0.8, cut=True), left_kidney=facts(150), tumor=facts(3.25))
LESS = row("less", liver=facts(1500, 0.99), left_kidney=facts(0), tumor=facts(0))
NONE = row("none", "no whole organ", liver=facts(0), left_kidney=facts(0), tumor=facts(0))


def test_the_worst_case_is_first() -> None:
    lines = case_table([GOOD, CUT, NONE, LESS], lesions=["tumor"])
    assert [line.split()[0] for line in lines] == ["case", "none", "less", "cut", "good"]
    assert lines[1].split() == ["none", "0/2", "-", "-", "1.2", "-", "any", "organ"]
    assert lines[2].endswith("left kidney")
    assert lines[3].split() == ["cut", "2/2", "1", "0.80", "liver", "1.2", "3.2"]
    assert "tumor" not in "\n".join(lines), "a scan without a tumor lacks nothing"


def test_a_model_without_lesions_has_no_column_for_them() -> None:
    (head, _) = case_table([row("a", liver=facts(1))], lesions=["tumor"])
    assert head.split() == [
        "case",
        "organs",
        "at",
        "border",
        "least",
        "confident",
        "s",
        "not",
        "found",
    ]


def test_a_long_table_ends_with_how_many_are_left() -> None:
    lines = case_table([row(f"case_{n}", liver=facts(n + 1)) for n in range(42)])
    assert lines[-1] == "… and 12 better cases; --statistics and --report have all"
    assert len(lines) == 1 + 30 + 1


def test_of_one_case_every_file_is_named(capsys: Any) -> None:
    print_result(FilesResult((GOOD,)), Path("out"), lesions=["tumor"])
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "wrote out/good.nii.gz, out/good.png"
    assert "1.2 s, 0.63 GB of memory" in out


def test_many_files_of_one_case_are_a_line_each(capsys: Any) -> None:
    files = [f"out/{n}.nii.gz" for n in range(9)]
    print_result(FilesResult(({**GOOD, "files": files},)), Path("out"), lesions=["tumor"])
    assert capsys.readouterr().out.splitlines()[-10:] == ["wrote", *(f"  {f}" for f in files)]


def test_of_several_cases_kinds_of_files_are_counted(capsys: Any) -> None:
    result = FilesResult((GOOD, CUT), ("old",), statistics=Path("out/statistics.csv"))
    print_result(result, Path("out"), lesions=["tumor"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "2 segmented, 1 skipped, 0 failed",
        "wrote 2 .nii.gz, 2 .png, statistics.csv: out",
    ]


def judged(expected: float | None, verdict: str) -> dict[str, Any]:
    interval = None if expected is None else [expected - 0.1, expected + 0.05]
    quality = {"expected_dice": expected, "dice_interval": interval, "verdict": verdict}
    return {**facts(0 if expected is None else 100), "quality": {**quality, "reason": ""}}


def test_what_is_expected_to_fail_is_first() -> None:
    fails = row("fails", liver=judged(0.31, "fail"), spleen=judged(0.9, "pass"))
    looks = row("looks", "a warning", liver=judged(0.66, "look"), spleen=judged(None, "look"))
    passes = row("passes", liver=judged(0.95, "pass"), spleen=judged(0.9, "pass"))
    lines = case_table([passes, looks, fails])
    assert [line.split()[:2] for line in lines[1:]] == [
        ["fails", "1/0"],
        ["looks", "0/2"],
        ["passes", "0/0"],
    ]
    assert "0.31 liver" in lines[1]


def test_of_one_case_the_expected_dice_is_beside_the_confidence(capsys: Any) -> None:
    one = row("one", liver=judged(0.912, "pass"), spleen=judged(None, "look"))
    print_result(FilesResult((one,)), Path("out"), lesions=[])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("confidence  expected Dice")
    assert lines[1].endswith("0.90  0.91 (0.81 to 0.96) pass")
    assert lines[2].endswith("not found, although its place is in view: look")


def test_a_model_without_a_calibration_says_so(capsys: Any) -> None:
    for rows in ((GOOD,), (GOOD, CUT)):
        print_result(FilesResult(rows), Path("out"), lesions=["tumor"], calibrated=False)
        told = capsys.readouterr().out.splitlines()
        assert "expected Dice: unknown, because the model has no calibration of it" in told
