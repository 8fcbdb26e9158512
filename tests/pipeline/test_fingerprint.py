"""Whether files have changed."""

from __future__ import annotations

from pathlib import Path

from nnstudent.pipeline.fingerprint import fingerprint


def test_a_file_rewritten_with_the_same_content_has_not_changed(tmp_path: Path):
    file = tmp_path / "x" / "small.json"
    file.parent.mkdir()
    file.write_text("1")
    before = fingerprint([tmp_path / "x"])
    file.write_text("1")
    (tmp_path / "x" / ".half").write_text("hidden")
    assert fingerprint([tmp_path / "x"]) == before
    file.write_text("2")
    assert fingerprint([tmp_path / "x"]) != before


def test_a_run_folder_that_was_moved_has_not_changed(tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_text("1")
    before = fingerprint([tmp_path / "x"])
    (tmp_path / "x").rename(tmp_path / "y")
    assert fingerprint([tmp_path / "y"]) == before
