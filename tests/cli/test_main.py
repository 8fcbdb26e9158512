from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nnstudent.cli
from nnstudent.cli.main import VERBS, build_parser, main
from nnstudent.cohort.cohort import read_cohort
from nnstudent.errors import InputError
from tests.cohort.conftest import Files


def verbs() -> dict[str, object]:
    (action,) = [a for a in build_parser()._actions if a.dest == "verb"]
    return dict(action.choices)


def test_help_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for verb in verbs():
        assert f"\n  {verb} " in text
    assert "Exit codes: 0 done; 1 some case failed" in text


def test_every_module_of_a_verb_is_a_verb():
    folder = Path(nnstudent.cli.__file__).parent
    assert set(VERBS) == {
        path.stem for path in folder.glob("*.py") if "\nHELP = " in path.read_text("utf-8")
    }
    assert len(VERBS) == len(set(VERBS))


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_explains_itself_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"nnstudent {verb} " in text.split("\n\n", 1)[1], "the docstring teaches by example"
    assert "--debug" in text


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_help_fits_80_columns(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["segmnet", "x"], "no such verb: segmnet; did you mean segment?"),
        (["Segment", "x"], "no such verb: Segment; did you mean segment?"),
        (["dance"], f"no such verb: dance; choose from {', '.join(VERBS)}"),
        (["index", "x", "-o", "y", "--annotate", "a=b", "--skipp", "a"], "did you mean --skip?"),
        (["segment", "x", "-o", "y", "--treads=2"], "did you mean --threads?"),
        (["segment", "x", "-o", "y", "--windows", "guide"], "guide; did you mean guided?"),
    ],
)
def test_a_slip_is_answered_with_the_closest_word(args, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_help_imports_nothing_heavy():
    """``--help`` is quick: no verb imports at its top what it needs to run."""
    code = "import sys; from nnstudent.cli.main import build_parser; build_parser(); print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & {"torch", "openvino", "nnunetv2", "matplotlib", "nibabel", "scipy", "numpy"}


def test_segmenting_imports_nothing_before_it_is_needed():
    """Each takes as long as a window of the network, or longer."""
    code = (
        "import sys; from nnstudent.cli.common import import_nibabel; import_nibabel(); "
        "import nnstudent.inference.files.segment, importlib.util;"
        "print(*[name for name in ('scipy.ndimage', 'scipy.sparse', 'PIL', 'pydicom', 'torch', "
        "'tqdm') if name in sys.modules], sep=',');"
        "importlib.util.find_spec('pydicom') and __import__('pydicom')"  # it must be there for those who need it
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "args", [[], ["dance"], ["index"], ["index", "x"], ["index", "x", "-o", "y", "--threads", "0"]]
)
def test_wrong_usage_exits_with_2(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nnstudent")
    assert line.endswith(" --help")


def test_a_report_that_cannot_be_written_is_known_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "nnstudent.cohort.index.index", lambda *args, **kwargs: pytest.fail("has begun")
    )
    (tmp_path / "file").write_text("")
    for report, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "r.json", "cannot be written"),
    ):
        assert (
            main(["index", str(tmp_path), "-o", str(tmp_path / "C"), "--report", str(report)]) == 2
        )
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_output_goes_is_said_alike_by_every_verb():
    (verbs,) = (action for action in build_parser()._actions if action.dest == "verb")
    for verb, parser in verbs.choices.items():
        for action in parser._actions:
            if "-o" in action.option_strings:
                assert action.option_strings == ["-o", "--output"], verb


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"nnstudent {nnstudent.__version__}\n"


def test_a_wrong_input_is_one_line_and_2(tmp_path, capsys):
    assert main(["index", str(tmp_path / "none"), "-o", str(tmp_path / "C")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"nnstudent index: {tmp_path / 'none'}: no such file or folder; expected")
    assert not (tmp_path / "C").exists()


def test_debug_shows_where(tmp_path):
    with pytest.raises(InputError):
        main(["index", str(tmp_path / "none"), "-o", str(tmp_path / "C"), "--debug"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ZeroDivisionError("division by zero"),
            2,
            "ZeroDivisionError: division by zero; run it again with --debug",
        ),
        (MemoryError(), 2, "nnstudent index: not enough memory"),
        (
            OSError(24, "Too many open files", "x.nii"),
            2,
            "nnstudent index: x.nii: Too many open files",
        ),
        (OSError(30, "Read-only file system"), 2, "nnstudent index: Read-only file system"),
        (BaseException("a panic"), 2, "BaseException: a panic; run it again with --debug"),
        (KeyboardInterrupt(), 130, "stopped; finished work is kept"),
    ],
)
def test_what_nobody_expected_is_one_line_too(error, code, said, monkeypatch, tmp_path, capsys):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("nnstudent.cohort.index.index", fail)
    assert main(["index", str(tmp_path), "-o", str(tmp_path)]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_reference_page_is_what_help_says():
    from nnstudent.cli.reference import page

    written = Path(__file__).parents[2] / "docs" / "reference" / "command.md"
    if not written.parent.is_dir():
        pytest.skip("no docs here: they are not part of the source package")
    assert written.read_text("utf-8") == page(), (
        "write it anew: python -m nnstudent.cli.reference > docs/reference/command.md"
    )


def command(
    *words: str, encoding: str = "utf-8", **more: Any
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "nnstudent", *words],
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        **more,
    )


def test_a_terminal_that_knows_only_ascii(tmp_path):
    Files(tmp_path / "größe").ct("bare.nii.gz")
    (tmp_path / "größe" / "cases.csv").write_text("image\nbare.nii.gz\n")
    done = command(
        "index",
        str(tmp_path / "größe" / "cases.csv"),
        "-o",
        str(tmp_path / "C×"),
        encoding="ascii",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert "x" in text
    assert "C" in text.splitlines()[-1]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="names that are no text are Linux's"
)
def test_a_name_that_is_no_text_loses_no_output(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9\x1b")
    files = Files(odd)
    (
        files.ct("full.nii.gz"),
        files.label("pred/full.nii.gz", [1, 2]),
        files.label("truth/full.nii.gz", [1, 2]),
    )
    (odd / "cases.csv").write_text("image,label,annotated\nfull.nii.gz,truth/full.nii.gz,liver\n")
    report = odd / "r.json"
    done = command(
        "index",
        str(odd / "cases.csv"),
        "-o",
        str(odd / "C"),
        "--report",
        str(report),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(report.read_text("utf-8"))["cases"]
    assert r"caf\xe9\x1b" in row["image"]
    report.read_bytes().decode("utf-8")
    assert read_cohort(odd / "C")["full"].image.is_file()  # comes back as it was
    done = command(
        "evaluate",
        str(odd / "pred"),
        str(odd / "C"),
        "--report",
        str(report),
        "--csv",
        str(odd / "r.csv"),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text("utf-8"))["cases"][0]["id"] == "full"
    assert (odd / "r.csv").read_text("utf-8")


@pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="a disk that is always full is Linux's"
)
def test_a_full_disk_under_standard_output_is_one_line():
    with open("/dev/full", "wb") as full:
        done = command("maps", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line == "nnstudent maps: No space left on device"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
@pytest.mark.parametrize(
    "name", ["pipe", "pipe.csv", "pipe.nii.gz", "folder/cohort.json", "/dev/null"]
)
@pytest.mark.timeout(60)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, capsys):
    """Opening a pipe that nobody writes to never ends."""
    (tmp_path / "folder").mkdir()
    if not name.startswith("/dev"):
        os.mkfifo(tmp_path / name)
    out = str(tmp_path / "out")
    given = str(tmp_path / name)
    folder = str(Path(given).parent) if name.endswith("cohort.json") else given
    verbs = [
        ["index", folder, "-o", out],
        ["segment", given, "-o", out],
        ["evaluate", given, given],
        ["select", folder, given, "-o", out],
    ]
    for words in verbs:
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--debug" not in line
    assert not Path(out).exists()


@pytest.mark.parametrize("word", ["--taxonomy=--", "-o--"])
def test_two_dashes_are_no_value(word, capsys):
    """argparse makes an empty list of them, whatever the option takes."""
    with pytest.raises(SystemExit) as stop:
        main(["index", "cases.csv", word])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nnstudent index: {word}: -- is no value")


def test_usage_names_what_must_be_given(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    usage = capsys.readouterr().out.splitlines()[0]
    assert usage == (
        "usage: nnstudent label COHORT -o PSEUDO --teacher MODEL|--from FOLDER [options]"
    )


@pytest.mark.parametrize("verb", ["segment", "run", "index", "label", "select", "study", "export"])
def test_common_options_come_before_advanced_ones(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert text.index("\noptions:") < text.index("\nadvanced:")
    assert text.index("--output") < text.index("\nadvanced:")


def test_a_missing_fused_cohort_says_which_verb_makes_one(tmp_path, capsys):
    assert main(["study", str(tmp_path / "none"), "-o", str(tmp_path / "S"), "--plan-only"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "make one with: nnstudent select COHORT PSEUDO -o" in line
