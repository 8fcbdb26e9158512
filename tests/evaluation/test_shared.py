"""Scores of parts, merged, are the scores of one call."""

from __future__ import annotations

import json

import pytest

from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.evaluation.shared import Share
from nnstudent.io.parts import Part, parts


def test_merged_parts_equal_one_call(folders, tmp_path):
    prediction, truth = folders
    (prediction / "a.nii.gz").write_bytes(b"broken")
    whole = evaluate(prediction, truth)
    for part in reversed(parts(3)):  # the third is empty
        evaluate(prediction, truth, share=Share(tmp_path / "s", part))
    merged = evaluate(prediction, truth, share=Share(tmp_path / "s", merge=3))
    assert json.dumps(merged.to_dict()) == json.dumps(whole.to_dict())
    assert [failure.case for failure in merged.failures] == ["a"]


def test_a_missing_or_different_part_is_refused(folders, tmp_path):
    prediction, truth = folders
    evaluate(prediction, truth, share=Share(tmp_path, Part(2, 2)))
    with pytest.raises(InputError, match="part 1/2 has not ended"):
        evaluate(prediction, truth, share=Share(tmp_path, merge=2))
    evaluate(prediction, truth, share=Share(tmp_path, Part(1, 2)), classes=["liver"])
    with pytest.raises(InputError, match="part 1/2 was run with other options"):
        evaluate(prediction, truth, share=Share(tmp_path, merge=2))


def test_by_the_command(folders, tmp_path, capsys):
    words = ["evaluate", *map(str, folders)]
    assert main([*words, "--part", "1/2"]) == 2
    assert "need --parts FOLDER" in capsys.readouterr().err
    shared = [*words, "--parts", str(tmp_path)]
    assert main([*shared, "--part", "3/2"]) == 2
    assert "--part 3/2: expected I/N" in capsys.readouterr().err
    assert main([*shared, "--part", "1/2", "--merge", "2"]) == 2
    for part in ("2/2", "1/2"):
        assert main([*shared, "--part", part]) == 0
    capsys.readouterr()
    assert main([*shared, "--merge", "2"]) == 0
    merged = capsys.readouterr().out
    assert main(words) == 0
    assert merged == capsys.readouterr().out
