"""A cohort made in parts is the cohort of one call."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.cli import main
from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.index import index
from nnstudent.cohort.index_parts import index_part, merge_index
from nnstudent.errors import InputError
from nnstudent.io.parts import Part, parts
from tests.cohort.conftest import Files


@pytest.fixture
def source(files: Files) -> Path:
    """Five cases, one of them broken, one named twice."""
    rows = ["id,image,label,annotated,role"]
    for number in range(5):
        files.ct(f"c{number}.nii.gz"), files.label(f"c{number}_l.nii.gz", [1, 2, number + 3])
        rows.append(f"c{number},c{number}.nii.gz,c{number}_l.nii.gz,,{'test' * (number == 4)}")
    files.text("c2.nii.gz", "no image")
    rows += ["twin,c0.nii.gz,,,", "TWIN,c0.nii.gz,,,"]
    return files.text("cases.csv", "\n".join(rows))


def test_merged_parts_equal_one_call(source: Path, tmp_path: Path):
    overrides = {"c0": ["liver"], "c[34]": ["infer"]}
    whole = index(source, tmp_path / "whole", annotated=overrides, skip=["c1"])
    for part in reversed(parts(6)):  # more parts than cases
        index_part(source, tmp_path / "shared", part, annotated=overrides, skip=["c1"])
    with pytest.raises(InputError, match="part 1/6 was run with other options"):
        merge_index(source, tmp_path / "shared", 6)
    merged = merge_index(source, tmp_path / "shared", 6, annotated=overrides, skip=["c1"])
    assert merged.cohort == whole.cohort == read_cohort(tmp_path / "shared")
    assert (merged.kind, merged.facts) == (whole.kind, whole.facts)
    assert sorted(merged.notices) == sorted(whole.notices)
    one, other = (tmp_path / name / "cohort.json" for name in ("shared", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_part_that_died_is_named_and_repeated_alone(source: Path, tmp_path: Path, monkeypatch):
    index_part(source, tmp_path, Part(2, 2))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnstudent.cohort.index_parts.index", die)
    with pytest.raises(KeyboardInterrupt):
        index_part(source, tmp_path, Part(1, 2))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"part 1/2 has not ended; run: .* --part 1/2"):
        merge_index(source, tmp_path, 2)
    index_part(source, tmp_path, Part(1, 2))
    merged = merge_index(source, tmp_path, 2)
    assert [case.id for case in merged.cohort] == ["c0", "c1", "c3", "c4"]


def test_by_the_command(source: Path, tmp_path: Path, capsys):
    out = tmp_path / "C"
    words = ["index", str(source), "-o", str(out)]
    assert main([*words, "--part", "3/2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*words, "--merge", "2"]) == 2
    assert "parts 1/2, 2/2 have not ended" in capsys.readouterr().err
    assert main([*words, "--part", "1/2"]) == 1  # c2 is broken
    assert "--merge 2" in capsys.readouterr().out
    assert main([*words, "--part", "2/2"]) == 0
    assert not (out / "cohort.json").exists()
    assert main([*words, "--merge", "2", "--report", str(tmp_path / "r.json")]) == 1
    assert "4 cases from" in capsys.readouterr().out
