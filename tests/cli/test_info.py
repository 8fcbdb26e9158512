from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nnstudent.bundle.bundle import open_model
from nnstudent.cli.info import describe, schema_files
from nnstudent.cli.main import VERBS, build_parser, main
from nnstudent.taxonomy import flare23
from tests.reports import check_report, read_report

(PARSERS,) = (
    action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
)


def test_every_verb_that_reports_has_a_schema_and_no_other() -> None:
    reporting = {
        verb
        for verb, parser in PARSERS.choices.items()
        if any(action.dest == "report" for action in parser._actions)
    }
    assert set(schema_files()) == reporting | {"info"}


@pytest.mark.parametrize("verb", sorted(schema_files()))
def test_schemas_are_sound_and_say_which_version_they_are(verb: str) -> None:
    schema = json.loads(schema_files()[verb].read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == 1
    assert {"schema", "version", "command"} <= set(schema["required"])
    assert set(schema["required"]) <= set(schema["properties"])
    with pytest.raises(AssertionError):
        check_report({"schema": 2}, verb)


def test_a_key_that_the_schema_does_not_name_is_a_fault() -> None:
    data = {"schema": 1, "version": "1", "command": [], "cases": []}
    check_report(data, "phantom")
    with pytest.raises(AssertionError, match="more"):
        check_report({**data, "more": 1}, "phantom")


def test_info_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    check_report(data, "info")
    assert list(data["verbs"]) == list(VERBS)
    assert data["model"]["hash"] == open_model().hash
    assert [(row["id"], row["name"]) for row in data["model"]["classes"]] == [
        (item.id, item.name) for item in flare23()
    ]
    assert all(Path(file).is_file() for file in data["schemas"].values())


def test_info_has_every_argument_of_every_verb() -> None:
    verbs: dict[str, Any] = describe()["verbs"]
    for verb, parser in PARSERS.choices.items():
        flags = {flag for argument in verbs[verb]["arguments"] for flag in argument["flags"]}
        assert flags == set(parser._option_string_actions) - {"-h", "--help"}, verb
    windows = next(a for a in verbs["segment"]["arguments"] if a["name"] == "--windows")
    assert windows["choices"] == ["guided", "dense", "flare22"]
    assert windows["default"] == "guided"
    assert windows["group"] == "advanced"
    required = [a["name"] for a in verbs["segment"]["arguments"] if a["required"]]
    assert required == ["input", "--output"]


def test_info_describes_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", str(tmp_path)]) == 2
    assert "is no model" in capsys.readouterr().err


def test_info_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "left kidney" in out
    assert "card.md" in out


def test_a_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--schema", "segment"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "nnstudent segment --report"


def test_the_report_of_phantoms(tmp_path: Path) -> None:
    words = ["phantom", str(tmp_path / "P"), "--cases", "1", "--preset", "tiny"]
    assert main([*words, "--report", str(tmp_path / "r.json")]) == 0
    (row,) = read_report(tmp_path / "r.json", "phantom")["cases"]
    assert row["role"] in ("train", "test")


def test_the_published_schemas_are_those_of_the_package() -> None:
    published = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
    if not published.is_dir():
        pytest.skip("no docs here: they are not part of the source package")
    files = {file.stem: file.read_bytes() for file in published.iterdir()}
    assert files == {verb: file.read_bytes() for verb, file in schema_files().items()}, (
        "copy them: cp src/nnstudent/schemas/*.json docs/reference/schemas"
    )
    page = (published.parent / "reports.md").read_text("utf-8")
    assert [verb for verb in files if f"(schemas/{verb}.json)" not in page] == []
