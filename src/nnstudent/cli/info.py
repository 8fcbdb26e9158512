"""Describe models, classes, presets, verbs and options, for programs.

  nnstudent info
      a short overview
  nnstudent info --json
      everything, as JSON on standard output
  nnstudent info --json --model BUNDLE
      with the classes of another model than the bundled student
  nnstudent info --schema segment
      the JSON Schema of what segment --report writes

The keys of the reports are explained in docs/reference/reports.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.choices import FORMATS
from nnstudent.cli.common import add_model
from nnstudent.pipeline.presets import preset_names

if TYPE_CHECKING:
    from nnstudent.bundle.bundle import Model
    from nnstudent.taxonomy import Taxonomy

HELP = "describe models, classes and options, for programs as JSON"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_model(parser)
    parser.add_argument(
        "--schema",
        metavar="VERB",
        choices=sorted(schema_files()),
        help="print the JSON Schema of this verb's report",
    )


def run(args: argparse.Namespace) -> int:
    """Print the description or a schema."""
    from nnstudent.cli.common import json_text, report_head
    from nnstudent.words import class_title, count

    if args.schema is not None:
        print(schema_files()[args.schema].read_text("utf-8"), end="")
        return 0
    found = describe(args.model)
    if args.json:
        print(json_text({**report_head(), **found}), end="")
        return 0
    model = found["model"]
    if model is None:
        print("model    none; name a bundle or an nnU-Net model folder with --model")
    else:
        print(f"model    {model['path']} ({model['hash']})")
        print(f"card     {Path(model['path']) / 'card.md'}")
        classes = ", ".join(class_title(row["name"]) for row in model["classes"])
        print(f"classes  {classes}")
    print(f"presets  {', '.join(found['presets'])}")
    print(f"formats  {', '.join(found['formats'])}")
    print(f"verbs    {', '.join(found['verbs'])}")
    print(f"{count(len(found['schemas']), 'JSON Schema')} of reports: nnstudent info --schema VERB")
    return 0


def describe(path: Path | None = None) -> dict[str, Any]:
    """Return what this installation has, as plain data.

    Args:
        path: A bundle or an nnU-Net model folder; None for the bundled student.

    Raises:
        InputError: ``path`` is no model.
    """
    from nnstudent.bundle.bundle import open_model
    from nnstudent.errors import InputError
    from nnstudent.taxonomy import flare23

    try:
        model: Model | None = open_model(path)
    except InputError:
        if path is not None:
            raise
        model = None  # an installation without the bundled student
    table = flare23()
    return {
        "model": None if model is None else _model(model),
        "taxonomies": {table.name: _classes(table, table.names)},
        "presets": list(preset_names()),
        "formats": list(FORMATS),
        "verbs": _verbs(),
        "schemas": {name: str(file) for name, file in schema_files().items()},
    }


def schema_files() -> dict[str, Path]:
    """Return the file of each JSON Schema, by the verb whose report it describes."""
    folder = Path(__file__).parents[1] / "schemas"
    return {file.stem: file for file in sorted(folder.glob("*.json"))}


def _model(model: Model) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "kind": model.kind,
        "bundled": model.bundled,
        "hash": model.hash,
        "classes": _classes(model.taxonomy, model.classes),
        "card": dict(model.card),
    }


def _classes(table: Taxonomy, names: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = [table[name] for name in names]
    return [
        {
            "id": row.id,
            "name": row.name,
            "kind": row.kind,
            "color": list(row.color),
            "nsd_mm": row.nsd_mm,
            "snomed": row.snomed,
        }
        for row in rows
    ]


def _verbs() -> dict[str, Any]:
    from nnstudent.cli.main import build_parser

    (verbs,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    helps = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    schemas = schema_files()
    return {
        verb: {
            "help": helps[verb],
            "arguments": [
                _argument(action, group.title or "", parser)
                for group in parser._action_groups
                for action in group._group_actions
                if action.dest != "help"
            ],
            "report": verb if verb in schemas else None,
        }
        for verb, parser in verbs.choices.items()
    }


def _argument(
    action: argparse.Action, group: str, parser: argparse.ArgumentParser
) -> dict[str, Any]:
    from nnstudent.cli.reference import help_text

    long = [flag for flag in action.option_strings if flag.startswith("--")]
    switch = action.nargs == 0
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    default = None if switch or action.default in (None, argparse.SUPPRESS) else action.default
    if isinstance(default, list | tuple):
        default = ",".join(map(str, default))
    return {
        "name": long[0] if long else action.dest,
        "flags": list(action.option_strings),
        "value": None if switch else value,
        "choices": None if action.choices is None else [str(choice) for choice in action.choices],
        "several": action.nargs in ("+", "*", argparse.REMAINDER)
        or isinstance(action, argparse._AppendAction),
        "required": bool(action.required),
        "default": None if default in (None, "") else str(default),
        "group": group,
        "help": help_text(parser, action),
    }
