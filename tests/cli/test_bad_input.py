"""What every verb does alike with an output that cannot be written, with options, and with cases
that fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nnstudent.choices import DEVICES, ENGINES, TRAINING_DEVICES
from nnstudent.cli.main import build_parser, main
from nnstudent.cohort.index import index
from tests.cohort.conftest import Files

BELOW_A_FILE, A_FILE, PROC = (
    "{tmp}/file/x",
    "{tmp}/file",
    "/proc/nnstudent",
)  # of the last not even root can make a folder
VERBS = {
    "index": ["{source}/cases.csv", "-o", "{out}"],
    "segment": ["{source}", "-o", "{out}"],
    "run": ["{cohort}", "-o", "{out}", "--preset", "demo"],
    "phantom": ["{out}", "--cases", "1", "--preset", "tiny"],
    "teach": ["{cohort}", "-o", "{out}", "--preset", "demo"],
    "label": ["{cohort}", "-o", "{out}", "--from", "{source}/labels"],
    "select": ["{cohort}", "{source}", "-o", "{out}"],
    "study": ["{cohort}", "-o", "{out}", "--preset", "demo"],
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "source")
    made.ct("full.nii.gz"), made.label("labels/full.nii.gz", range(1, 14))
    made.ct("bare.nii.gz"), made.label("labels/bare.nii.gz", [1])
    made.text("cases.csv", "image,label\nfull.nii.gz,labels/full.nii.gz\nbare.nii.gz,\n")
    return made


@pytest.mark.parametrize("place", [BELOW_A_FILE, A_FILE, PROC])
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_cannot_be_written(
    files: Files, tmp_path: Path, verb: str, place: str, capsys
) -> None:
    if place == PROC and not sys.platform.startswith("linux"):
        pytest.skip("/proc is Linux's")
    index(files.folder / "cases.csv", tmp_path / "cohort")
    (tmp_path / "file").write_text("in the way")
    out = place.format(tmp=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert (
        main(
            [
                verb,
                *(
                    word.format(source=files.folder, cohort=tmp_path / "cohort", out=out)
                    for word in VERBS[verb]
                ),
            ]
        )
        == 2
    )
    told = capsys.readouterr()
    line = told.err.splitlines()[-1]
    if (verb, place) == (
        "segment",
        A_FILE,
    ):  # said of the file: the output of several images is a folder
        assert "so the output must be a folder" in line
    else:
        assert line.startswith(f"nnstudent {verb}: {out}: cannot be written ("), line
        assert "choose a place that you may write to" in line
    assert told.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("kept", "code"), [(["good"], 0), (["good", "gone"], 1), (["gone"], 2)])
def test_the_exit_code_says_whether_any_case_could_be_done(
    files: Files, tmp_path: Path, kept: list[str], code: int, capsys
) -> None:
    """0: all done; 1: some failed, the others are done; 2: none could be done."""
    rows = {"good": "good,full.nii.gz,labels/full.nii.gz", "gone": "gone,none.nii.gz,"}
    source = files.text("list.csv", "\n".join(["id,image,label", *(rows[id] for id in kept)]))
    assert main(["index", str(source), "-o", str(tmp_path / "C")]) == code
    index(files.folder / "cases.csv", tmp_path / "cohort")
    for id, name in (("good", "full"), ("gone", "bare")):
        for folder in ("pred", "truth"):
            if id in kept:
                files.label(f"{folder}/{name}.nii.gz", [1, 2])
    if "gone" in kept:
        files.text("pred/bare.nii.gz", "no image")
    assert main(["evaluate", str(files.folder / "pred"), str(files.folder / "truth")]) == code
    # To label there is one case that lacks organs, and the full one, which lacks the tumor.
    made = {name: files.folder / "pred" / f"{name}.nii.gz" for name in ("full", "bare")}
    assert (
        main(
            [
                "label",
                str(tmp_path / "cohort"),
                "-o",
                str(tmp_path / "P"),
                "--from",
                str(files.folder / "pred"),
            ]
        )
        == code
    )
    assert capsys.readouterr().err.count("failed: ") == (3 if "gone" in kept else 0)
    assert (tmp_path / "P").exists() is made["full"].is_file()


def test_options_of_one_name_mean_the_same_in_every_verb() -> None:
    (verbs,) = (action for action in build_parser()._actions if action.dest == "verb")
    found = {
        name: {
            verb: action
            for verb, parser in verbs.choices.items()
            for action in parser._actions
            if name in action.option_strings
        }
        for name in ("--device", "--engine", "--threads")
    }
    assert {tuple(action.choices) for action in found["--device"].values()} == {
        DEVICES,
        TRAINING_DEVICES,
    }
    assert {tuple(action.choices) for action in found["--engine"].values()} == {ENGINES}
    assert {verb: action.default for verb, action in found["--device"].items()} == dict.fromkeys(
        ("run", "teach", "label", "study", "distill"), "auto"
    ) | {"segment": "cpu"}
    assert set(found["--threads"]) == {
        "segment",
        "run",
        "index",
        "teach",
        "label",
        "study",
        "distill",
        "serve",
        "stats",
        "relabel",
        "qc",
        "audit",
    }


@pytest.mark.parametrize("verb", ["run", "teach", "label", "study", "segment"])
@pytest.mark.parametrize(
    "option", [["--device", "tpu"], ["--threads", "0"], ["--threads", "two"], ["--treads", "2"]]
)
def test_a_wrong_option_is_one_line_of_its_verb(
    verb: str, option: list[str], files: Files, tmp_path: Path, capsys
) -> None:
    words = [
        word.format(source=files.folder, cohort=tmp_path, out=tmp_path / "out")
        for word in VERBS[verb]
    ]
    with pytest.raises(SystemExit) as stop:
        main([verb, *words, *option])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nnstudent {verb}: ")
    assert option[1] in line
    assert not (tmp_path / "out").exists()
