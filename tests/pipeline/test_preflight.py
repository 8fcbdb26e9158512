from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nnstudent.cli.main import main
from nnstudent.errors import InputError, MissingExtraError, OutputError
from nnstudent.pipeline import preflight
from nnstudent.pipeline import run as run_module
from nnstudent.taxonomy import find_taxonomy
from tests.cohort.conftest import Files
from tests.reports import read_report


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def source(tmp_path: Path) -> Path:
    files = Files(tmp_path / "source")
    files.ct("full.nii.gz")
    files.label("labels/full.nii.gz", range(1, 14))
    files.text("cases.csv", "image,label\nfull.nii.gz,labels/full.nii.gz\ngone.nii.gz,\n")
    return tmp_path / "source" / "cases.csv"


def disk(free: float) -> Callable[[Any], Usage]:
    return lambda place: Usage(10**15, 0, int(free))


def dry_run(source: Path, out: Path) -> run_module.RunResult:
    return run_module.run(source, out, preset="demo", dry_run=True)


def test_a_dry_run_names_broken_cases_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(source), "-o", str(tmp_path / "RUN"), "--preset", "demo", "--dry-run"]
    assert main([*words, "--report", str(tmp_path / "r.json")]) == 1
    out, err = capsys.readouterr()
    assert err.count("gone.nii.gz") == 1
    assert "broken, would be left out: gone: " in err
    assert "less than 0.1 GB of disk" in out
    assert out.splitlines()[-1].startswith("left to do: index, teach, label")
    assert not (tmp_path / "RUN").exists()
    report = read_report(tmp_path / "r.json", "run")
    assert [row["id"] for row in report["failures"]] == ["gone"]
    assert {row["state"] for row in report["stages"]} == {"left"}


def test_a_source_without_a_usable_case_is_refused(source: Path, tmp_path: Path) -> None:
    source.write_text("image\ngone.nii.gz\n")
    with pytest.raises(InputError, match=r"no usable case in it \(the first: gone: "):
        dry_run(source, tmp_path / "RUN")


def test_declared_cases_that_no_teacher_can_learn_from_are_refused_before_the_work(
    source: Path, tmp_path: Path
) -> None:
    header, row = "image,label,annotated\n", "full.nii.gz,labels/full.nii.gz,"
    source.write_text(f"{header}{row}liver;spleen\n")
    with pytest.raises(InputError, match=r"no case has all 13 organs annotated .*--taxonomy FILE"):
        dry_run(source, tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()
    # A table of these classes makes the same case complete; what declares nothing is for index.
    table = source.with_name("two.toml")
    rows = ("id = 1\nname = 'liver'", "id = 3\nname = 'spleen'")
    table.write_text("".join(f"[[class]]\n{row}\n" for row in rows))
    options = {"preset": "demo", "dry_run": True}
    two = find_taxonomy(table)
    assert not run_module.run(source, tmp_path / "RUN", taxonomy=two, **options).failures
    source.write_text(f"{header}{row}\n")
    assert not dry_run(source, tmp_path / "RUN").failures


@pytest.mark.parametrize(
    ("module", "extra"), [("nnunetv2", "train"), ("torch", "torch"), ("jinja2", "report")]
)
def test_a_missing_extra_is_known_before_the_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    find = preflight.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(MissingExtraError, match=rf"pip install 'nnstudent\[{extra}\]'"):
        dry_run(source, tmp_path / "RUN")


def test_a_disk_that_is_certainly_too_small_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = 0.0

    def remember(*args: Any, **options: Any) -> float:
        nonlocal need
        need = count(*args, **options)
        return need

    count = preflight.disk_bytes
    monkeypatch.setattr(preflight, "disk_bytes", remember)
    assert "it may become" not in dry_run(source, tmp_path / "RUN").notices[0]
    monkeypatch.setattr(shutil, "disk_usage", disk(0.5 * need))
    with pytest.raises(OutputError, match="make room or choose another place"):
        dry_run(source, tmp_path / "RUN")
    monkeypatch.setattr(shutil, "disk_usage", disk(0.9 * need))
    assert "it may become too small" in dry_run(source, tmp_path / "RUN").notices[0]
